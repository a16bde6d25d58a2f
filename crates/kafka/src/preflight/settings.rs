//! What the client says of settings of which none can be made, in words for a user.
//!
//! Responsible for: naming the property. Not responsible for: trying them.

/// What a client that could not be made means; `None`: its own words are good enough. `shown`: the value of a property,
/// if it may be shown.
pub(super) fn refused(error: &str, shown: impl Fn(&str) -> Option<String>) -> Option<String> {
    if let Some((_, rest)) = error.split_once("No provider for SASL mechanism ") {
        let mechanism = rest.split(':').next().unwrap_or_default();
        let known = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
        return Some(match shown("sasl.mechanisms").or_else(|| shown("sasl.mechanism")) {
            None => format!("sasl.mechanisms is missing: set it to {known}"),
            Some(_) => format!("sasl.mechanisms = {mechanism:?} is none that this build has: it has {known}"),
        });
    }
    let (property, why) = error.split_once(" failed: ")?;
    let property = property.rsplit(' ').next().unwrap_or(property);
    if !property.starts_with("ssl.") {
        return None;
    }
    let value = shown(property).filter(|_| property.ends_with(".location"));
    let place = value.map_or_else(|| property.to_owned(), |path| format!("{property} = {path:?}"));
    let has = |part: &str| why.contains(part);
    Some(if has("key values mismatch") {
        format!("{place} is not the key of the certificate of ssl.certificate.location")
    } else if has("bad decrypt") || has("bad password") || has("mac verify") || has("interrupted or cancelled") {
        format!("{place} can't be decrypted: check ssl.key.password (ssl.keystore.password)")
    } else if has("no certificate") || has("no start line") || has("NO_START_LINE") {
        format!("{place} holds no certificate or key in PEM")
    } else if has("BIO lib") || has("system lib") || has("No such file") {
        format!("{place} can't be read: is it there, and may it be read?")
    } else {
        // The last part of `error:05800074:x509 certificate routines::key values mismatch`.
        format!("{place} can't be used: {}", why.rsplit("::").next().unwrap_or(why))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_property_is_named_and_the_clients_library_is_not() {
        let gssapi = "No provider for SASL mechanism GSSAPI: recompile librdkafka with libsasl2 or openssl support. Current build \
                      options: PLAIN SASL_SCRAM OAUTHBEARER";
        for (error, expected) in [
            (gssapi, "sasl.mechanisms is missing: set it to PLAIN,"),
            (
                "ssl.ca.location failed: error:05880020:x509 certificate routines::BIO lib",
                "ssl.ca.location = \"/a\" can't be read",
            ),
            (
                "ssl.ca.location failed: error:05800088:x509 certificate routines::no certificate or crl found",
                "ssl.ca.location = \"/a\" holds no certificate or key in PEM",
            ),
            (
                "ssl.key.location failed: error:05800074:x509 certificate routines::key values mismatch",
                "ssl.key.location = \"/a\" is not the key of the certificate",
            ),
            ("ssl.ca.pem failed: not in PEM format?: error:1::odd", "ssl.ca.pem can't be used: odd"),
        ] {
            let shown = |name: &str| (!name.starts_with("sasl")).then(|| "/a".to_owned());
            let said = refused(error, shown).expect("it is known");
            assert!(said.starts_with(expected), "{said}");
            assert!(!said.contains("librdkafka") && !said.contains("error:"), "{said}");
        }
        let given = refused(gssapi, |_| Some("GSSAPI".into())).expect("it is known");
        assert!(given.starts_with("sasl.mechanisms = \"GSSAPI\" is none that this build has"), "{given}");
        assert_eq!(refused("`linger.ms` must be set to less than `x`", |_| None), None);
    }
}
