-- The simplest sticky canary that a person would write in Lua: a checksum of the user's id, five percent.
function envoy_on_request(handle)
  local headers = handle:headers()
  local id = headers:get("x-user-id")
  local version = "stable"
  if id then
    local sum = 0
    for i = 1, #id do
      sum = (sum * 31 + string.byte(id, i)) % 100000
    end
    if sum < 5000 then version = "canary" end
  end
  headers:replace("x-cohort-checkout", version)
end
