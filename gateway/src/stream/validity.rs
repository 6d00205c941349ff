//! Until when certificates are good.

use rustls::pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

/// When the first of a chain runs out, in seconds since 1970; `None` if one cannot be read.
pub(super) fn ends(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let ends: Option<Vec<_>> = chain.iter().map(end).collect();
    ends?.into_iter().min()
}

fn end(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, read) = parse_x509_certificate(certificate).ok()?;
    Some(read.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn until(year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        signed.der().clone()
    }

    #[test]
    fn a_chain_is_good_until_its_first_certificate_runs_out() {
        let in_2030 = 1_893_456_000;
        assert_eq!(ends(&[until(2030)]), Some(in_2030));
        assert_eq!(ends(&[until(2040), until(2030)]), Some(in_2030));
        assert_eq!(
            ends(&[until(2040), CertificateDer::from(vec![48, 0])]),
            None
        );
    }
}
