//! Signatures of what a node sends to a backend, as Standard Webhooks has them: a backend knows that it
//! is from here, and is not fooled by what was sent before.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fanfare_shared::config::Secret;

/// The header that names a request. One that is sent again has the same.
pub const ID: &str = "webhook-id";
/// The header that says when it was sent, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header that has the signatures.
pub const SIGNATURE: &str = "webhook-signature";

/// What stands before a secret in base64.
const ENCODED: &str = "whsec_";

/// Signs with each of some secrets.
#[derive(Debug)]
pub struct Signer(Vec<hmac::Key>);

impl Signer {
    /// Takes the secrets: as they stand, or in base64 behind `whsec_`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with one, without showing it.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Result<Self, &'static str> {
        let keys = secrets.into_iter().map(|secret| {
            let text = secret.expose();
            let bytes = match text.strip_prefix(ENCODED) {
                None => text.as_bytes().to_vec(),
                Some(encoded) => BASE64
                    .decode(encoded)
                    .map_err(|_| "it is not base64 behind whsec_")?,
            };
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        });
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// The value of the header [`SIGNATURE`].
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signatures = self.0.iter().map(|key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", BASE64.encode(context.sign()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        secret: String,
        id: String,
        timestamp: u64,
        body: String,
        signature: String,
        valid: bool,
    }

    #[test]
    fn a_signature_is_what_libraries_take_for_one() {
        let vectors = include_str!("../../shared/vectors/signature.json");
        let vectors: Vec<Vector> = serde_json::from_str(vectors).unwrap();
        for vector in vectors {
            let secret = Secret::new(vector.secret);
            let signer = Signer::new([&secret]).unwrap();
            let made = signer.sign(&vector.id, vector.timestamp, vector.body.as_bytes());
            let is_among = vector.signature.split(' ').any(|one| one == made);
            assert_eq!(is_among, vector.valid, "{}", vector.name);
        }
    }

    #[test]
    fn two_secrets_make_two_signatures() {
        let [one, other] = ["one", "other"].map(|text| Secret::new(text.to_owned()));
        let sign = |secrets: &[&Secret]| {
            let signer = Signer::new(secrets.iter().copied()).unwrap();
            signer.sign("msg_1", 1, b"{}")
        };
        let both = sign(&[&one, &other]);
        assert_eq!(both, format!("{} {}", sign(&[&one]), sign(&[&other])));
        let broken = Secret::new("whsec_?".to_owned());
        assert!(Signer::new([&broken]).is_err());
    }
}
