//! Client certificates: who somebody is for whom a certificate authority vouches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::access::issuers::CERTIFICATE;
use crate::access::policy::{External, Identity};
use crate::access::tokens::now;

/// Bytes of the longest name.
const LONGEST: usize = 255;

/// Counts how often the authorities have changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn next(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// The certificate of a connection. Its chain was checked when the connection began.
#[derive(Clone, Debug)]
pub(crate) struct ClientCertificate(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    identity: Result<Identity, &'static str>,
    /// Its last second, of Unix time.
    ends: u64,
    epoch: Epoch,
    /// Which authorities it was checked against.
    checked: u64,
}

impl ClientCertificate {
    /// A certificate whose chain is right, by the authorities of `checked`.
    pub(crate) fn new(certificate: &CertificateDer<'_>, epoch: Epoch, checked: u64) -> Self {
        let parsed = X509Certificate::from_der(certificate).map(|(_, parsed)| parsed);
        let (identity, ends) = match &parsed {
            Ok(parsed) => {
                let name = name_of(parsed).filter(|name| fits(name)).ok_or("the client certificate has no usable name");
                let identity = name.map(|name| External::new(CERTIFICATE, name, [""; 0]));
                let ends = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
                (identity.map(|external| Identity::External(Arc::new(external))), ends)
            }
            Err(_) => (Err("the client certificate cannot be read"), 0),
        };
        Self(Arc::new(Shown { identity, ends, epoch, checked }))
    }

    /// Who it is; the error says why it does not count now. A connection may stay longer than what was shown on it.
    pub(crate) fn identity(&self) -> Result<Identity, &'static str> {
        let shown = &self.0;
        let identity = shown.identity.clone()?;
        if shown.checked != shown.epoch.now() {
            return Err("the certificate authorities have changed since this connection began");
        }
        if now() > shown.ends {
            return Err("the time of the client certificate is over");
        }
        Ok(identity)
    }
}

/// The common name of its subject; without one, the first of its other names that is a host, a mail address or a URI.
fn name_of<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let mut names = certificate.subject().iter_common_name();
    if let Some(name) = names.next() {
        // Of two, one reader would take the first and another the last.
        return if names.next().is_none() { name.as_str().ok() } else { None };
    }
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some(*name),
        _ => None,
    })
}

fn fits(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "ci");
        change(&mut parameters);
        let made = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::new(made.der(), Epoch::default(), 0)
    }

    #[test]
    fn a_certificate_counts_until_it_ends_and_no_longer_than_its_authorities() {
        let good = certificate(|_| ());
        assert_eq!(good.identity().unwrap().name(), Some("certificate:ci"));
        let old = certificate(|parameters| parameters.not_after = rcgen::date_time_ymd(2021, 1, 1));
        assert_eq!(old.identity(), Err("the time of the client certificate is over"));
        good.0.epoch.next();
        assert!(good.identity().unwrap_err().starts_with("the certificate authorities have changed"));
    }

    #[test]
    fn what_is_no_certificate_is_nobody() {
        for bytes in [&b""[..], b"x", &[0x30, 0x80], &[0x30, 3, 2, 1, 1]] {
            let shown = ClientCertificate::new(&CertificateDer::from(bytes), Epoch::default(), 0);
            shown.identity().unwrap_err();
        }
    }
}
