-- The canary that a person would write who wants to change its share later: drawn once, kept in a cookie.
function envoy_on_request(handle)
  local headers = handle:headers()
  local cookies = headers:get("cookie")
  local version = cookies and cookies:match("canary=(%w+)")
  if not version then
    version = math.random(100) <= 5 and "canary" or "stable"
    handle:streamInfo():dynamicMetadata():set("envoy.filters.http.lua", "drawn", version)
  end
  headers:replace("x-cohort-checkout", version)
end

function envoy_on_response(handle)
  local mine = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.lua")
  if mine and mine.drawn then
    handle:headers():add("set-cookie", "canary=" .. mine.drawn .. "; Path=/; Max-Age=86400")
  end
end
