//! The attributes of a cookie that we hand out: `pin.cookie` and `anonymousId.cookie`.
