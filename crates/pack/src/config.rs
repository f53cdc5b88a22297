//! The image config (image-spec, `config.md`): made anew, or that of the base with what was asked for changed in it.

use std::collections::BTreeMap;

use image::{Digest, Platform};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::raw::RawObject;
use crate::request::{PackRequest, Port, Variable};

/// A layer that was added, as the config tells of it.
pub(crate) struct Added<'a> {
    pub(crate) diff_id: &'a Digest,
    pub(crate) created_by: &'a str,
}

#[derive(Serialize)]
struct History<'a> {
    created: &'a str,
    created_by: &'a str,
}

/// Writes the config of one platform's image. Members stand in the order of the specification; those of a base stay
/// where they are.
pub(crate) fn write(
    request: &PackRequest,
    platform: &Platform,
    created: &str,
    base: Option<&RawObject>,
    added: &[Added<'_>],
) -> Result<Vec<u8>, serde_json::Error> {
    let mut document = base.cloned().unwrap_or_default();
    document.set("created", &created)?;
    document.set("architecture", &platform.architecture)?;
    document.set("os", &platform.os)?;
    if !platform.variant.is_empty() {
        document.set("variant", &platform.variant)?;
    }
    let settings = document.read("config")?.unwrap_or_default();
    document.set("config", &change(request, settings)?)?;

    let mut rootfs: RawObject = document.read("rootfs")?.unwrap_or_default();
    let mut diff_ids = diff_ids(&rootfs)?;
    diff_ids.extend(added.iter().map(|layer| layer.diff_id.clone()));
    rootfs.set("type", &"layers")?;
    rootfs.set("diff_ids", &diff_ids)?;
    document.set("rootfs", &rootfs)?;

    let mut history: Vec<Box<RawValue>> = document.read("history")?.unwrap_or_default();
    for layer in added {
        history.push(serde_json::value::to_raw_value(&History { created, created_by: layer.created_by })?);
    }
    document.set("history", &history)?;
    serde_json::to_vec(&document)
}

/// Diff IDs of the layers, lowest first.
pub(crate) fn diff_ids(rootfs: &RawObject) -> Result<Vec<Digest>, serde_json::Error> {
    Ok(rootfs.read("diff_ids")?.unwrap_or_default())
}

/// What `docker inspect` calls `Config`.
fn change(request: &PackRequest, mut settings: RawObject) -> Result<RawObject, serde_json::Error> {
    if let Some(user) = &request.user {
        settings.set("User", user)?;
    }
    if !request.expose.is_empty() {
        let mut ports: Map<String, Value> = settings.read("ExposedPorts")?.unwrap_or_default();
        let mut expose: Vec<&Port> = request.expose.iter().collect();
        expose.sort();
        for port in expose {
            ports.entry(port.to_string()).or_insert_with(|| Value::Object(Map::new()));
        }
        settings.set("ExposedPorts", &ports)?;
    }
    if !request.env.is_empty() {
        let env = settings.read("Env")?.unwrap_or_default();
        settings.set("Env", &merge(env, &request.env))?;
    }
    let binary = [request.place.as_str().to_owned()];
    set_words(&mut settings, "Entrypoint", request.entrypoint.as_deref().unwrap_or(&binary))?;
    // The base's arguments are for the base's entry point.
    set_words(&mut settings, "Cmd", request.cmd.as_deref().unwrap_or_default())?;
    // It says that `Cmd` is one command line for the shell of Windows, which no longer holds.
    settings.remove("ArgsEscaped");
    if let Some(workdir) = &request.workdir {
        settings.set("WorkingDir", workdir)?;
    }
    if !request.labels.is_empty() {
        let mut labels: Map<String, Value> = settings.read("Labels")?.unwrap_or_default();
        labels.extend(request.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
        settings.set("Labels", &labels)?;
    }
    Ok(settings)
}

fn set_words(settings: &mut RawObject, name: &str, words: &[String]) -> Result<(), serde_json::Error> {
    if words.is_empty() {
        settings.remove(name);
        return Ok(());
    }
    settings.set(name, &words)
}

/// A variable replaces one of the same name where it stands; others follow.
fn merge(mut env: Vec<String>, variables: &[Variable]) -> Vec<String> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (index, line) in env.iter().enumerate() {
        places.insert(line.split('=').next().unwrap_or_default().to_owned(), index);
    }
    for Variable { name, value } in variables {
        let line = format!("{name}={value}");
        if let Some(&index) = places.get(name) {
            env[index] = line;
        } else {
            places.insert(name.clone(), env.len());
            env.push(line);
        }
    }
    env
}

/// The part of a manifest that is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest<'a> {
    pub(crate) schema_version: u8,
    pub(crate) media_type: &'static str,
    pub(crate) config: &'a image::Descriptor,
    pub(crate) layers: &'a [image::Descriptor],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<&'static str, String>,
}

/// The part of an index that is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index<'a> {
    pub(crate) schema_version: u8,
    pub(crate) media_type: &'static str,
    pub(crate) manifests: &'a [image::Descriptor],
}

/// Reads a base's config.
pub(crate) fn parse(bytes: &[u8]) -> Result<RawObject, serde_json::Error> {
    RawObject::deserialize(&mut serde_json::Deserializer::from_slice(bytes))
}

#[cfg(test)]
mod tests {
    use crate::request::ImagePath;

    use super::*;

    fn request() -> PackRequest {
        PackRequest::new(Vec::new(), ImagePath::parse("/app").unwrap(), "")
    }

    fn text(request: &PackRequest, base: Option<&str>) -> String {
        let base = base.map(|text| parse(text.as_bytes()).unwrap());
        let diff_id = Digest::sha256(b"layer");
        let added = [Added { diff_id: &diff_id, created_by: "test" }];
        let platform = Platform::parse("linux/arm/v7").unwrap();
        let bytes = write(request, &platform, "1970-01-01T00:00:00Z", base.as_ref(), &added).unwrap();
        String::from_utf8(bytes).unwrap().replace(diff_id.as_str(), "DIFF")
    }

    #[test]
    fn without_a_base_members_stand_in_the_order_of_the_specification() {
        let mut request = request();
        request.user = Some("1000:1000".to_owned());
        request.expose = vec!["8080".parse().unwrap(), "53/udp".parse().unwrap()];
        request.env = vec!["A=1".parse().unwrap(), "B=2".parse().unwrap(), "A=3".parse().unwrap()];
        request.cmd = Some(vec!["serve".to_owned()]);
        request.workdir = Some(ImagePath::parse("/srv").unwrap());
        request.labels = BTreeMap::from([("z".to_owned(), "1".to_owned()), ("a".to_owned(), "<&>".to_owned())]);
        assert_eq!(
            text(&request, None),
            concat!(
                r#"{"created":"1970-01-01T00:00:00Z","architecture":"arm","os":"linux","variant":"v7","#,
                r#""config":{"User":"1000:1000","ExposedPorts":{"53/udp":{},"8080/tcp":{}},"Env":["A=3","B=2"],"#,
                r#""Entrypoint":["/app"],"Cmd":["serve"],"WorkingDir":"/srv","Labels":{"a":"<&>","z":"1"}},"#,
                r#""rootfs":{"type":"layers","diff_ids":["DIFF"]},"#,
                r#""history":[{"created":"1970-01-01T00:00:00Z","created_by":"test"}]}"#,
            )
        );
        assert_eq!(
            text(&self::request(), None),
            concat!(
                r#"{"created":"1970-01-01T00:00:00Z","architecture":"arm","os":"linux","variant":"v7","#,
                r#""config":{"Entrypoint":["/app"]},"rootfs":{"type":"layers","diff_ids":["DIFF"]},"#,
                r#""history":[{"created":"1970-01-01T00:00:00Z","created_by":"test"}]}"#,
            )
        );
    }

    #[test]
    fn a_base_keeps_what_was_not_asked_for() {
        let base = format!(
            concat!(
                r#"{{"os":"linux","architecture":"arm","x-vendor":{{"n":1.50}},"#,
                r#""config":{{"Env":["PATH=/bin","LANG=C"],"Cmd":["sh"],"Healthcheck":{{"Interval":30000000000}},"#,
                r#""Labels":{{"base":"yes","v":"1"}},"User":"nobody"}},"#,
                r#""rootfs":{{"type":"layers","diff_ids":["{0}"],"x":1}},"history":[{{"created_by":"base","x":2}}]}}"#,
            ),
            Digest::sha256(b"base")
        );
        let mut request = request();
        request.env = vec!["LANG=en".parse().unwrap(), "A=1".parse().unwrap()];
        request.labels = BTreeMap::from([("v".to_owned(), "2".to_owned())]);
        assert_eq!(
            text(&request, Some(&base)).replace(Digest::sha256(b"base").as_str(), "BASE"),
            concat!(
                r#"{"os":"linux","architecture":"arm","x-vendor":{"n":1.50},"#,
                r#""config":{"Env":["PATH=/bin","LANG=en","A=1"],"Healthcheck":{"Interval":30000000000},"#,
                r#""Labels":{"base":"yes","v":"2"},"User":"nobody","Entrypoint":["/app"]},"#,
                r#""rootfs":{"type":"layers","diff_ids":["BASE","DIFF"],"x":1},"#,
                r#""history":[{"created_by":"base","x":2},{"created":"1970-01-01T00:00:00Z","created_by":"test"}],"#,
                r#""created":"1970-01-01T00:00:00Z","variant":"v7"}"#,
            )
        );
    }

    #[test]
    fn an_empty_entry_point_takes_the_base_s_away() {
        let mut request = request();
        request.entrypoint = Some(Vec::new());
        let text = text(&request, Some(r#"{"config":{"Entrypoint":["/tini"],"Cmd":["x"]}}"#));
        assert!(text.contains(r#""config":{}"#), "{text}");
    }
}
