//! The tenant and the user named by a set of JWT claims.
//!
//! PostgREST (and Supabase) put the claims of a verified token into `request.jwt.claims`. Nothing here verifies a
//! token: whoever may set the claims is trusted, which is what gateway mode means.

use serde_json::Value;
use uuid::Uuid;

/// What a set of claims says about the caller. A claim that is missing or malformed is `None`, never an error:
/// readers of the context must not raise because of text somebody else sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub tenant: Option<Uuid>,
    pub user: Option<Uuid>,
}

impl Claims {
    /// Reads `json`. `tenant_path` is dot-separated (`tenant_id`, `app_metadata.tenant_id`); the user is `sub`.
    pub fn parse(json: &str, tenant_path: &str) -> Claims {
        let Ok(claims) = serde_json::from_str::<Value>(json) else { return Claims::default() };
        Claims { tenant: uuid_at(&claims, tenant_path), user: uuid_at(&claims, "sub") }
    }
}

fn uuid_at(claims: &Value, path: &str) -> Option<Uuid> {
    let value = path.split('.').try_fold(claims, |value, key| value.get(key))?;
    Uuid::parse_str(value.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
    const U: &str = "bbbbbbbb-0000-4000-8000-000000000002";

    #[test]
    fn top_level_and_nested_tenant_claims() {
        let json = format!(r#"{{"sub":"{U}","tenant_id":"{A}","app_metadata":{{"tenant_id":"{U}"}}}}"#);
        assert_eq!(Claims::parse(&json, "tenant_id").tenant, Some(A.parse().unwrap()));
        assert_eq!(Claims::parse(&json, "app_metadata.tenant_id").tenant, Some(U.parse().unwrap()));
        assert_eq!(Claims::parse(&json, "tenant_id").user, Some(U.parse().unwrap()));
    }

    #[test]
    fn malformed_claims_are_nobody() {
        for json in ["", "{bad", "[]", "null", r#"{"tenant_id":7}"#, r#"{"tenant_id":"x"}"#, r#"{"sub":"auth0|1"}"#] {
            assert_eq!(Claims::parse(json, "tenant_id"), Claims::default(), "{json}");
        }
    }
}
