//! TLS with a node: whose certificates are trusted, and what went wrong where none came about.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use crate::cli::escape::printable;

/// What is spoken over TLS (RFC 7301).
const PROTOCOL: &[u8] = b"http/1.1";

/// Whose certificates are trusted.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Trust(pub(super) Arc<ClientConfig>);

/// A certificate and its key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Trust {
    /// Trusts the authorities of a file, or else the public ones. The error names the file.
    pub(in crate::cli) fn authorities(file: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(file) => {
                let of = |problem: String| format!("{}: {problem}", file.display());
                let text = fs::read(file).map_err(|error| of(error.to_string()))?;
                for certificate in CertificateDer::pem_slice_iter(&text) {
                    let added = certificate.map(|certificate| roots.add(certificate));
                    added
                        .map_err(|error| of(error.to_string()))?
                        .map_err(|error| of(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(of("no certificate in PEM".to_owned()));
                }
            }
        }
        let config = builder()?.with_root_certificates(roots);
        Ok(Self::new(config.with_no_client_auth()))
    }

    /// Trusts whoever answers, and shows `pair` where a certificate is asked for: for a node of this
    /// host, whose certificate need not be for the address that it is asked at.
    pub(in crate::cli) fn anyone(pair: Pair) -> Result<Self, String> {
        let config = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(aws_lc_rs::default_provider())));
        let (certificates, key) = pair;
        let config = config.with_client_auth_cert(certificates, key);
        Ok(Self::new(config.map_err(|error| error.to_string())?))
    }

    fn new(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Self(Arc::new(config))
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
}

/// Takes every certificate.
#[derive(Debug)]
struct Anyone(CryptoProvider);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What went wrong in a handshake, what may help, and whether trying again can.
pub(super) fn explain(error: &io::Error) -> (String, &'static str, bool) {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let said = |problem: &str, remedy, may_pass| (problem.to_owned(), remedy, may_pass);
    match cause {
        // The other is of an authority with the name of one that is trusted.
        Some(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => said(
            "its certificate is of an authority that is not trusted here",
            "give the certificate of that authority with --ca FILE",
            false,
        ),
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => said(
            "its certificate is for another name",
            "connect to the name that it is for",
            false,
        ),
        Some(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => said(
            "its certificate has expired",
            "have the node's certificate renewed",
            false,
        ),
        Some(Error::InvalidCertificate(problem)) => (
            format!(
                "its certificate cannot be used: {}",
                printable(&problem.to_string())
            ),
            "does the node have the right one?",
            false,
        ),
        Some(Error::InvalidMessage(_)) => said(
            "it does not speak TLS",
            "connect with ws:// or http://, or set tls.cert and tls.key on the node",
            false,
        ),
        Some(Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::UnknownCA,
        )) => said(
            "it asks for a certificate that it trusts",
            "is it the public port?",
            false,
        ),
        Some(error) => (
            format!("TLS failed: {}", printable(&error.to_string())),
            "is it fanfare's port?",
            false,
        ),
        // A node that is full or stops closes the connection.
        None => said(
            "it closed the connection within the TLS handshake",
            "try again later",
            true,
        ),
    }
}
