//! Signed tokens (JWT, RFC 7519) with HS256 (RFC 7518, 3.2).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::program::Program;

/// `{"alg":"HS256","typ":"JWT"}` and a point.
const HEADER: &[u8] = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.";

/// What signed tokens are made of.
#[derive(Clone)]
pub(crate) struct Token {
    key: Hmac<Sha256>,
    pub(super) claims: Program,
}

impl Token {
    /// Tokens with these claims, signed with this secret.
    pub(super) fn new(secret: &[u8], claims: Program) -> Self {
        let key = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        Self { key, claims }
    }

    /// Appends the token with these claims.
    pub(super) fn push(&self, out: &mut Vec<u8>, claims: &[u8]) {
        let start = out.len();
        out.extend_from_slice(HEADER);
        push_base64(out, claims, &URL_SAFE_NO_PAD);
        let signature = self.key.clone().chain_update(&out[start..]).finalize().into_bytes();
        out.push(b'.');
        push_base64(out, &signature, &URL_SAFE_NO_PAD);
    }
}

impl std::fmt::Debug for Token {
    /// The secret is nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("claims", &self.claims).finish_non_exhaustive()
    }
}

/// Appends bytes in base64 as `Authorization: Basic` has them.
pub(super) fn push_base64_standard(out: &mut Vec<u8>, bytes: &[u8]) {
    push_base64(out, bytes, &STANDARD);
}

fn push_base64(out: &mut Vec<u8>, bytes: &[u8], alphabet: &impl Engine) {
    let start = out.len();
    // Four characters for three bytes or less.
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = alphabet.encode_slice(bytes, &mut out[start..]).expect("there is room for all of it");
    out.truncate(start + written);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_that_of_other_implementations() {
        // The example that jwt.io opens with, which every library's guide repeats.
        let token = Token::new(b"your-256-bit-secret", Program::default());
        let mut out = b"Bearer ".to_vec();
        token.push(&mut out, br#"{"sub":"1234567890","name":"John Doe","iat":1516239022}"#);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
             SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
        );
    }

    #[test]
    fn credentials_are_those_of_the_standard() {
        // RFC 7617, 2.
        let mut out = Vec::new();
        push_base64_standard(&mut out, b"Aladdin:open sesame");
        assert_eq!(out, b"QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
