//! The query string of a request target.

/// The request target's path, without the query string.
pub fn path_of(target: &[u8]) -> &[u8] {
    target.split(|&byte| byte == b'?').next().unwrap_or_default()
}

/// The first value of the query parameter `name`, its bytes as they are: nothing is percent-decoded.
///
/// A parameter without `=` has the empty value.
///
/// ```
/// use cohort::http::query::parameter;
/// assert_eq!(parameter(b"/cart?a=1&uid=42&uid=7", "uid"), Some(&b"42"[..]));
/// assert_eq!(parameter(b"/cart?uid", "uid"), Some(&b""[..]));
/// assert_eq!(parameter(b"/uid=3", "uid"), None);
/// ```
pub fn parameter<'a>(target: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let start = target.iter().position(|&byte| byte == b'?')? + 1;
    let query = target.get(start..)?;
    let query = query.split(|&byte| byte == b'#').next()?;
    query.split(|&byte| byte == b'&').find_map(|pair| {
        let rest = pair.strip_prefix(name.as_bytes())?;
        match rest.split_first() {
            None => Some(rest),
            Some((b'=', value)) => Some(value),
            Some(_) => None,
        }
    })
}

/// `text` as the value of a query parameter: everything but letters, digits and `-._~` percent-encoded.
///
/// ```
/// use cohort::http::query::encoded;
/// assert_eq!(encoded("sum(rate(a{b=\"c\"}[1m]))"), "sum%28rate%28a%7Bb%3D%22c%22%7D%5B1m%5D%29%29");
/// ```
pub fn encoded(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for half in [byte >> 4, byte & 15] {
                encoded.push(char::from(DIGITS.get(usize::from(half)).copied().unwrap_or(b'0')));
            }
        }
    }
    encoded
}
