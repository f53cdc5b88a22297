//! Files of other programs.

use image::{RegistryHost, RepositoryName};
use settings::fuzzing;

use crate::line;

/// `config.json` of Docker, `auth.json` of Podman. The first line is the host that is logged in to.
pub(crate) fn files(bytes: &[u8]) {
    let (host, json) = line(bytes);
    let repository = RepositoryName::parse("team/app").expect("a name");
    let known = RegistryHost::parse("registry.example:5000").expect("a host");
    let (_, faults) = fuzzing::credentials(json, &known, &repository);
    for fault in &faults {
        assert!(fault.len() < 100_000, "{} bytes", fault.len());
    }
    let Ok(host) = RegistryHost::parse(host) else { return };
    let key = host.as_str();
    let Some(edited) = fuzzing::with_entry(json, key, "Ym9iOnB3") else { return };
    assert!(fuzzing::keys(&edited).iter().any(|known| known == key), "{key}");
    let (credentials, _) = fuzzing::credentials(&edited, &host, &repository);
    assert!(
        !matches!(credentials, settings::Credentials::Anonymous),
        "logged in, and not known: {}",
        String::from_utf8_lossy(&edited)
    );
    let gone = fuzzing::without_entry(&edited, key).expect("the entry that was just made");
    assert!(!fuzzing::keys(&gone).iter().any(|known| known == key), "{key}");
    // Others stay.
    let others = |json: &[u8]| fuzzing::keys(json).into_iter().filter(|known| known != key).collect::<Vec<_>>();
    assert_eq!(others(&gone), others(json));
}
