//! Which entry of an index is for a platform, and why.
//!
//! The rules are those of containerd's default matcher, so that a list means the same to polyarch as to the engines
//! that pull it: an exact match first, then what the machine can run as well, in falling order.

use std::cmp::Reverse;
use std::fmt;

use crate::platform::Platform;

/// Chooses among platforms for one that is wanted.
///
/// ```
/// # use polyarch_image as image;
/// use image::{Platform, PlatformMatcher};
///
/// let offered = [Platform::parse("linux/amd64")?, Platform::parse("linux/arm/v6")?, Platform::parse("linux/arm64/v8")?];
/// let matcher = PlatformMatcher::new(&Platform::parse("linux/arm64")?);
/// assert_eq!(matcher.best(offered.iter().map(Some)), Some(2));
/// assert_eq!(matcher.best(offered[..2].iter().map(Some)), Some(1));
/// # Ok::<(), image::PlatformError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformMatcher {
    accepted: Vec<Platform>,
}

/// What a matcher says to one platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It fits. Rank 0 is the platform that is wanted; every further rank is a step of the fall-back.
    Fits {
        /// Position in [`PlatformMatcher::accepted`].
        rank: usize,
    },
    /// Another operating system, or none.
    System,
    /// Another CPU architecture.
    Architecture,
    /// A variant that the wanted CPU cannot run.
    Variant,
    /// A build of Windows that the wanted one cannot run.
    Version,
    /// It needs features of the operating system that the wanted platform does not state.
    Features(Vec<String>),
    /// It states no platform: the config of the image tells.
    Unstated,
}

/// A choice, with what it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The platform that was wanted, normalised.
    pub wanted: Platform,
    /// Everything that was offered, in its order.
    pub candidates: Vec<Candidate>,
    /// The candidates that fit, best first, as positions in `candidates`.
    pub order: Vec<usize>,
}

/// One that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// As it was stated.
    pub platform: Option<Platform>,
    /// What the matcher says to it.
    pub verdict: Verdict,
}

impl PlatformMatcher {
    /// A matcher for `wanted` with containerd's fall-back order: older variants of the same CPU, 32-bit programs on
    /// `amd64` and `arm64`.
    pub fn new(wanted: &Platform) -> Self {
        let wanted = canonical(wanted);
        let mut accepted = vec![wanted.clone()];
        for (architecture, variant) in fall_back(&wanted.architecture, &wanted.variant) {
            let other = Platform { architecture: architecture.to_owned(), variant, ..wanted.clone() };
            accepted.push(canonical(&other));
        }
        Self { accepted }
    }

    /// A matcher for `wanted` and nothing else. Spellings of the same platform still match.
    pub fn exact(wanted: &Platform) -> Self {
        Self { accepted: vec![canonical(wanted)] }
    }

    /// The platform that is wanted, normalised.
    pub fn wanted(&self) -> &Platform {
        &self.accepted[0]
    }

    /// Every platform that is accepted, most wanted first.
    pub fn accepted(&self) -> &[Platform] {
        &self.accepted
    }

    /// Whether `platform` is accepted.
    pub fn matches(&self, platform: &Platform) -> bool {
        matches!(self.verdict(Some(platform)), Verdict::Fits { .. })
    }

    /// What is to be said to one platform.
    pub fn verdict(&self, platform: Option<&Platform>) -> Verdict {
        let Some(platform) = platform else { return Verdict::Unstated };
        let offered = canonical(platform);
        let wanted = self.wanted();
        if offered.os != wanted.os {
            return Verdict::System;
        }
        let cpu =
            |accepted: &Platform| accepted.architecture == offered.architecture && accepted.variant == offered.variant;
        let Some(rank) = self.accepted.iter().position(cpu) else {
            let same = self.accepted.iter().any(|accepted| accepted.architecture == offered.architecture);
            return if same { Verdict::Variant } else { Verdict::Architecture };
        };
        if wanted.os == "windows" && !windows_runs(&wanted.os_version, &offered.os_version) {
            return Verdict::Version;
        }
        let missing: Vec<String> =
            needed_features(&offered).filter(|need| !wanted.os_features.contains(need)).collect();
        if missing.is_empty() { Verdict::Fits { rank } } else { Verdict::Features(missing) }
    }

    /// Position of the best of those that are offered; `None` if none fits. One without a platform never fits.
    pub fn best<'a>(&self, offered: impl IntoIterator<Item = Option<&'a Platform>>) -> Option<usize> {
        let fitting = |(index, platform): (usize, Option<&Platform>)| match self.verdict(platform) {
            Verdict::Fits { rank } => Some(self.preference(rank, platform?, index)),
            _ => None,
        };
        offered.into_iter().enumerate().filter_map(fitting).min().map(|preference| preference.index)
    }

    /// As [`PlatformMatcher::best`], with everything that led to the choice.
    pub fn select<'a>(&self, offered: impl IntoIterator<Item = Option<&'a Platform>>) -> Selection {
        let mut candidates = Vec::new();
        let mut fitting = Vec::new();
        for (index, platform) in offered.into_iter().enumerate() {
            let verdict = self.verdict(platform);
            if let (Verdict::Fits { rank }, Some(platform)) = (&verdict, platform) {
                fitting.push(self.preference(*rank, platform, index));
            }
            candidates.push(Candidate { platform: platform.cloned(), verdict });
        }
        fitting.sort();
        let order = fitting.into_iter().map(|preference| preference.index).collect();
        Selection { wanted: self.wanted().clone(), candidates, order }
    }

    fn preference(&self, rank: usize, offered: &Platform, index: usize) -> Preference {
        let wanted = &self.wanted().os_version;
        let (other_version, older) = if wanted.is_empty() {
            (false, Reverse(None))
        } else {
            (offered.os_version != *wanted, Reverse(numbers(&offered.os_version)))
        };
        Preference { rank, features: Reverse(offered.os_features.len()), other_version, older, index }
    }
}

/// Compared field by field; the least is the best.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    rank: usize,
    /// One made for more of the machine's features is the better one.
    features: Reverse<usize>,
    other_version: bool,
    older: Reverse<Option<Vec<u32>>>,
    index: usize,
}

/// Normalised, and with the operating system that an image has unless it says otherwise.
fn canonical(platform: &Platform) -> Platform {
    let mut normal = platform.normalized();
    if normal.os.is_empty() && !normal.architecture.is_empty() {
        "linux".clone_into(&mut normal.os);
    }
    normal
}

/// What a CPU runs beside its own programs, best first.
fn fall_back(architecture: &str, variant: &str) -> Vec<(&'static str, String)> {
    match architecture {
        "amd64" => {
            let level = number(variant).unwrap_or(1);
            let mut all: Vec<_> = (1..level.min(100)).rev().map(|level| ("amd64", format!("v{level}"))).collect();
            all.push(("386", String::new()));
            all
        }
        "arm" => older_arm(number(variant)),
        "arm64" => {
            let Some((major, minor)) = arm64_version(variant) else { return Vec::new() };
            // Version 9.n is 8.(n+5) with SVE2; 8.9 was the last of its line.
            let minor_of_8 = if major == 9 { Some((minor + 5).min(9)) } else { minor.checked_sub(1) };
            let of_9 = if major == 9 { (0..minor).rev().map(|minor| (9, minor)).collect() } else { Vec::new() };
            let of_8 = minor_of_8.into_iter().flat_map(|most| (0..=most).rev()).map(|minor| (8, minor));
            let spelt = |(major, minor)| if minor == 0 { format!("v{major}") } else { format!("v{major}.{minor}") };
            let mut all: Vec<_> = of_9.into_iter().chain(of_8).map(|version| ("arm64", spelt(version))).collect();
            all.push(("arm", "v8".to_owned()));
            all.extend(older_arm(Some(8)));
            all
        }
        _ => Vec::new(),
    }
}

/// Programs for ARMv5 with hardware floats or not run on what came later; older ones were never published.
fn older_arm(version: Option<u32>) -> Vec<(&'static str, String)> {
    let version = version.unwrap_or(0).min(100);
    (5..version).rev().map(|version| ("arm", format!("v{version}"))).collect()
}

/// `v7` is 7.
fn number(variant: &str) -> Option<u32> {
    variant.strip_prefix('v').unwrap_or(variant).parse().ok()
}

/// Versions of the architecture that exist: 8.0 to 8.9 and 9.0 to 9.7.
fn arm64_version(variant: &str) -> Option<(u32, u32)> {
    if variant.is_empty() {
        return Some((8, 0));
    }
    let (major, minor) = variant.strip_prefix('v')?.split_once('.').unwrap_or((&variant[1..], "0"));
    match (major.parse().ok()?, minor.parse().ok()?) {
        (8, minor @ 0..=9) => Some((8, minor)),
        (9, minor @ 0..=7) => Some((9, minor)),
        _ => None,
    }
}

/// Features that a machine must state. `win32k` never took part in choosing, as every Windows Server but Nano has it.
fn needed_features(offered: &Platform) -> impl Iterator<Item = String> {
    let windows = offered.os == "windows";
    offered.os_features.iter().filter(move |feature| !(windows && *feature == "win32k")).cloned()
}

/// The first Windows with a stable interface between host and container: Server 2022. Server 2025 is the next one.
const STABLE: [u16; 2] = [20348, 26100];

/// Whether a Windows host runs a container built for `container`; an unknown version hinders nothing.
///
/// Before Server 2022 the builds must be the same. From then on a host runs everything from the long-term release
/// before it up to its own build.
fn windows_runs(host: &str, container: &str) -> bool {
    let Some((major, minor, build)) = windows_version(host) else { return true };
    if container.is_empty() {
        return true;
    }
    let Some((container_major, container_minor, container_build)) = windows_version(container) else { return false };
    if (major, minor) != (container_major, container_minor) {
        return false;
    }
    if build < STABLE[0] {
        return build == container_build;
    }
    let oldest = STABLE.iter().rev().find(|&&stable| stable < build).copied().unwrap_or(STABLE[0]);
    (oldest..=build).contains(&container_build)
}

/// Major, minor, build of `10.0.20348.169`; `0.0.0` is nobody's version.
fn windows_version(text: &str) -> Option<(u8, u8, u16)> {
    let mut parts = text.split('.');
    let version = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(version).filter(|&version| version != (0, 0, 0))
}

/// All numbers of a version, for comparing; `None` if it is not made of numbers.
fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

impl Selection {
    /// The best one, as a position among the candidates.
    pub fn chosen(&self) -> Option<usize> {
        self.order.first().copied()
    }

    /// Candidates that state no platform: when nothing is [chosen](Self::chosen), their configs may tell more.
    pub fn unstated(&self) -> impl Iterator<Item = usize> {
        self.candidates.iter().enumerate().filter(|(_, c)| c.verdict == Verdict::Unstated).map(|(index, _)| index)
    }

    /// The platforms that were offered, normalised, each once, in their order: for the error that none fits.
    /// Attestations (`unknown/unknown`) are none.
    pub fn available(&self) -> Vec<Platform> {
        let mut all = Vec::new();
        for platform in self.candidates.iter().filter_map(|candidate| candidate.platform.as_ref()) {
            let platform = platform.normalized();
            if platform.os != "unknown" && !all.contains(&platform) {
                all.push(platform);
            }
        }
        all
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fits { rank: 0 } => f.write_str("the platform itself"),
            Self::Fits { rank } => write!(f, "runs as well (fall-back {rank})"),
            Self::System => f.write_str("another operating system"),
            Self::Architecture => f.write_str("another architecture"),
            Self::Variant => f.write_str("a variant that does not run there"),
            Self::Version => f.write_str("a build of Windows that does not run there"),
            Self::Features(missing) => {
                f.write_str("needs ")?;
                for (i, feature) in missing.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, crate::text::Shown(feature))?;
                }
                Ok(())
            }
            Self::Unstated => f.write_str("states no platform"),
        }
    }
}

/// One line for every candidate: the chosen one is marked `*`.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wanted)?;
        for (index, candidate) in self.candidates.iter().enumerate() {
            let mark = if self.chosen() == Some(index) { '*' } else { ' ' };
            let platform = candidate.platform.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            write!(f, "\n{mark} {index} {platform}: {}", candidate.verdict)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let os = parts.next().unwrap_or_default();
        let (os, os_version) = match os.split_once('(') {
            Some((os, version)) => (os.to_owned(), version.trim_end_matches(')').to_owned()),
            None => (os, String::new()),
        };
        let architecture = parts.next().unwrap_or_default();
        Platform { os, os_version, architecture, variant: parts.next().unwrap_or_default(), os_features: Vec::new() }
    }

    /// Spelling is kept: what is offered is not parsed, as in a real list.
    fn best<'a>(wanted: &str, offered: &[&'a str]) -> Option<&'a str> {
        let platforms: Vec<_> = offered.iter().map(|text| stated(text)).collect();
        let matcher = PlatformMatcher::new(&stated(wanted));
        let chosen = matcher.best(platforms.iter().map(Some));
        assert_eq!(matcher.select(platforms.iter().map(Some)).chosen(), chosen);
        chosen.map(|index| offered[index])
    }

    #[test]
    fn fall_back_order() {
        for (wanted, want) in [
            ("linux/amd64", "linux/amd64 linux/386"),
            ("linux/amd64/v3", "linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386"),
            ("linux/386", "linux/386"),
            ("linux/arm/v8", "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
            ("linux/arm", "linux/arm/v7 linux/arm/v6 linux/arm/v5"),
            ("linux/arm/v5", "linux/arm/v5"),
            ("linux/arm/v4", "linux/arm/v4"),
            ("linux/arm64", "linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
            (
                "linux/arm64/v8.2",
                "linux/arm64/v8.2 linux/arm64/v8.1 linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5",
            ),
            (
                "linux/arm64/v9",
                "linux/arm64/v9 linux/arm64/v8.5 linux/arm64/v8.4 linux/arm64/v8.3 linux/arm64/v8.2 linux/arm64/v8.1 \
                 linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5",
            ),
            ("linux/riscv64", "linux/riscv64"),
            ("linux/s390x", "linux/s390x"),
            ("windows/amd64", "windows/amd64 windows/386"),
        ] {
            let accepted = PlatformMatcher::new(&stated(wanted)).accepted;
            let accepted: Vec<_> = accepted.iter().map(ToString::to_string).collect();
            assert_eq!(accepted.join(" "), want, "{wanted}");
        }
        assert_eq!(PlatformMatcher::new(&stated("linux/arm64/v9.6")).accepted.len(), 7 + 10 + 4);
    }

    /// oras-go #993: a list that says `arm64` was no match for `arm64/v8`.
    #[test]
    fn oras_go_993_arm64_and_arm64_v8_are_one_platform() {
        assert_eq!(best("linux/arm64/v8", &["linux/amd64", "linux/arm64"]), Some("linux/arm64"));
        assert_eq!(best("linux/arm64", &["linux/amd64", "linux/arm64/v8"]), Some("linux/arm64/v8"));
        assert_eq!(best("linux/aarch64", &["linux/arm64"]), Some("linux/arm64"));
    }

    /// containers/image #898: on a machine that knows its variant, entries without one were not found.
    #[test]
    fn containers_image_898_entries_without_variant_are_found() {
        let list = ["linux/amd64", "linux/arm", "linux/arm64", "linux/ppc64le", "linux/s390x"];
        assert_eq!(best("linux/arm64/v8", &list), Some("linux/arm64"));
        assert_eq!(best("linux/arm/v7", &list), Some("linux/arm"));
        assert_eq!(best("linux/arm/v8", &list), Some("linux/arm"));
        assert_eq!(best("linux/amd64/v3", &list), Some("linux/amd64"));
    }

    /// containers/common #1295: v6 and v7 got mixed up, because `arm` alone counts as v7.
    #[test]
    fn containers_common_1295_v6_and_v7_are_not_mixed_up() {
        let list = ["linux/arm/v6", "linux/arm/v7"];
        assert_eq!(best("linux/arm/v6", &list), Some("linux/arm/v6"));
        assert_eq!(best("linux/arm/v7", &list), Some("linux/arm/v7"));
        assert_eq!(best("linux/arm", &list), Some("linux/arm/v7"));
        assert_eq!(best("linux/arm/v6", &["linux/arm"]), None);
        assert_eq!(best("linux/arm/v6", &["linux/arm", "linux/arm/v5"]), Some("linux/arm/v5"));
    }

    /// manifest-tool #185: a typing error in a list; `amd64` has no variant v8, and nothing may run it by chance.
    #[test]
    fn manifest_tool_185_amd64_v8_is_not_taken_for_amd64() {
        assert_eq!(best("linux/amd64", &["linux/amd64/v8"]), None);
        assert_eq!(best("linux/arm64", &["linux/amd64/v8"]), None);
        assert_eq!(best("linux/amd64", &["linux/amd64/v8", "linux/amd64"]), Some("linux/amd64"));
        assert_eq!(best("linux/amd64/v8", &["linux/amd64"]), Some("linux/amd64"));
    }

    /// manifest-tool #88: lists with the variants `armv8` and `armv7` are out there.
    #[test]
    fn manifest_tool_88_armv8_is_v8() {
        assert_eq!(best("linux/arm64", &["linux/arm64/armv8"]), Some("linux/arm64/armv8"));
        assert_eq!(best("linux/arm/v7", &["linux/arm/armv7"]), Some("linux/arm/armv7"));
        assert_eq!(best("linux/arm64/armv8", &["linux/arm64"]), Some("linux/arm64"));
    }

    /// regctl takes the Linux image where one for Windows or macOS is wanted.
    #[test]
    fn regctl_linux_is_not_taken_for_windows_or_darwin() {
        assert_eq!(best("windows/amd64", &["linux/amd64", "linux/arm64"]), None);
        assert_eq!(best("darwin/amd64", &["linux/amd64"]), None);
        assert_eq!(best("darwin/arm64", &["linux/arm64"]), None);
        assert_eq!(best("linux/amd64", &["windows/amd64"]), None);
        assert_eq!(best("windows/amd64", &["linux/amd64", "windows/amd64"]), Some("windows/amd64"));
    }

    /// crane knows neither aliases nor fall-back.
    #[test]
    fn crane_an_older_variant_is_better_than_nothing() {
        assert_eq!(best("linux/arm/v7", &["linux/amd64", "linux/arm/v5", "linux/arm/v6"]), Some("linux/arm/v6"));
        assert_eq!(best("linux/arm64", &["linux/amd64", "linux/arm/v6", "linux/arm/v7"]), Some("linux/arm/v7"));
        assert_eq!(best("linux/amd64/v4", &["linux/amd64", "linux/amd64/v2"]), Some("linux/amd64/v2"));
        assert_eq!(best("linux/amd64", &["linux/386"]), Some("linux/386"));
        assert_eq!(best("linux/x86_64", &["linux/amd64"]), Some("linux/amd64"));
    }

    #[test]
    fn exact_comes_before_fall_back_whatever_the_order() {
        for list in [["linux/386", "linux/amd64"], ["linux/amd64", "linux/386"]] {
            assert_eq!(best("linux/amd64", &list), Some("linux/amd64"));
        }
        assert_eq!(best("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"]), Some("linux/arm64/v8"));
        assert_eq!(best("linux/arm64", &["linux/arm64", "linux/arm64/v8"]), Some("linux/arm64"), "the first of equals");
    }

    #[test]
    fn newer_variants_do_not_run_on_older_machines() {
        assert_eq!(best("linux/amd64", &["linux/amd64/v2"]), None);
        assert_eq!(best("linux/arm/v6", &["linux/arm/v7"]), None);
        assert_eq!(best("linux/arm64", &["linux/arm64/v9", "linux/arm64/v8.1"]), None);
        assert_eq!(best("linux/386", &["linux/amd64"]), None);
        assert_eq!(best("linux/arm/v8", &["linux/arm64"]), None);
    }

    #[test]
    fn an_exact_matcher_does_not_fall_back() {
        let matcher = PlatformMatcher::exact(&stated("linux/arm64/v8"));
        assert!(matcher.matches(&stated("linux/aarch64")));
        assert!(!matcher.matches(&stated("linux/arm/v7")));
        assert!(!PlatformMatcher::exact(&stated("linux/amd64")).matches(&stated("linux/386")));
    }

    #[test]
    fn windows_builds() {
        for (host, container, fits) in [
            ("10.0.17763.4377", "10.0.17763.1", true),
            ("10.0.17763", "10.0.17763.4377", true),
            ("10.0.17763", "10.0.14393.1", false),
            ("10.0.19042", "10.0.17763", false),
            ("10.0.17763", "10.0.20348", false),
            ("10.0.20348", "10.0.20348.169", true),
            ("10.0.20348", "10.0.17763", false),
            ("10.0.22621", "10.0.20348", true),
            ("10.0.25398", "10.0.20348", true),
            ("10.0.26100", "10.0.20348", true),
            ("10.0.26100", "10.0.25398", true),
            ("10.0.26101", "10.0.20348", false),
            ("10.0.26101", "10.0.26100", true),
            ("10.0.20348", "10.0.26100", false),
            ("10.0.20348", "6.1.20348", false),
            ("10.0.20348", "", true),
            ("", "10.0.17763", true),
            ("ltsc2022", "10.0.17763", true),
            ("10.0.20348", "ltsc2022", false),
        ] {
            let (wanted, offered) =
                (stated(&format!("windows({host})/amd64")), stated(&format!("windows({container})/amd64")));
            let verdict = PlatformMatcher::new(&wanted).verdict(Some(&offered));
            assert_eq!(verdict, if fits { Verdict::Fits { rank: 0 } } else { Verdict::Version }, "{host} {container}");
        }
    }

    #[test]
    fn the_same_build_of_windows_then_the_newest_that_runs() {
        let list = [
            "windows/amd64",
            "windows(10.0.20348.1)/amd64",
            "windows(10.0.25398.7)/amd64",
            "windows(10.0.20348.99)/amd64",
        ];
        assert_eq!(best("windows(10.0.20348.1)/amd64", &list), Some("windows(10.0.20348.1)/amd64"));
        assert_eq!(best("windows(10.0.20348.5)/amd64", &list), Some("windows(10.0.20348.99)/amd64"));
        assert_eq!(best("windows(10.0.26100.1)/amd64", &list), Some("windows(10.0.25398.7)/amd64"));
        assert_eq!(best("windows(10.0.17763.1)/amd64", &list), Some("windows/amd64"));
        assert_eq!(best("windows/amd64", &list[1..]), Some("windows(10.0.20348.1)/amd64"));
    }

    #[test]
    fn features_must_be_there_and_the_more_the_better() {
        let with = |os: &str, features: &[&str]| Platform {
            os_features: features.iter().map(|&feature| feature.to_owned()).collect(),
            ..Platform::new(os, "amd64")
        };
        let matcher = PlatformMatcher::new(&with("linux", &["a", "b"]));
        let offered =
            [with("linux", &[]), with("linux", &["b"]), with("linux", &["b", "a"]), with("linux", &["a", "c", "b"])];
        let selection = matcher.select(offered.iter().map(Some));
        assert_eq!(selection.order, [2, 1, 0]);
        assert_eq!(selection.candidates[3].verdict, Verdict::Features(vec!["c".to_owned()]));
        assert!(PlatformMatcher::new(&Platform::new("windows", "amd64")).matches(&with("windows", &["win32k"])));
        assert!(!PlatformMatcher::new(&Platform::new("linux", "amd64")).matches(&with("linux", &["win32k"])));
    }

    #[test]
    fn an_entry_without_operating_system_is_for_linux() {
        assert_eq!(best("linux/amd64", &["/amd64"]), Some("/amd64"));
        assert_eq!(best("windows/amd64", &["/amd64"]), None);
        assert_eq!(best("linux/amd64", &["/"]), None);
    }

    #[test]
    fn the_choice_is_explained() {
        let offered = [
            Some(stated("linux/amd64")),
            Some(stated("windows(10.0.17763.1)/arm64")),
            None,
            Some(stated("linux/arm/v7")),
            Some(stated("linux/arm64/v8")),
            Some(stated("linux/arm64/v9")),
            Some(stated("unknown/unknown")),
        ];
        let selection = PlatformMatcher::new(&stated("linux/arm64")).select(offered.iter().map(Option::as_ref));
        assert_eq!(
            selection.to_string(),
            "linux/arm64\n  0 linux/amd64: another architecture\n  \
             1 windows(10.0.17763.1)/arm64: another operating system\n  2 -: states no platform\n  \
             3 linux/arm/v7: runs as well (fall-back 2)\n* 4 linux/arm64/v8: the platform itself\n  \
             5 linux/arm64/v9: a variant that does not run there\n  6 unknown/unknown: another operating system"
        );
        assert_eq!((selection.chosen(), selection.order.as_slice()), (Some(4), &[4, 3][..]));
        assert_eq!(selection.unstated().collect::<Vec<_>>(), [2]);
        let available: Vec<_> = selection.available().iter().map(ToString::to_string).collect();
        assert_eq!(
            available,
            ["linux/amd64", "windows(10.0.17763.1)/arm64", "linux/arm/v7", "linux/arm64", "linux/arm64/v9"]
        );
    }

    #[test]
    fn a_hostile_variant_costs_nothing() {
        for variant in ["v4294967295", "v99999999999999999999", "v-1", "v8.99999", "v\u{661}"] {
            for architecture in ["amd64", "arm", "arm64"] {
                let matcher = PlatformMatcher::new(&stated(&format!("linux/{architecture}/{variant}")));
                assert!(matcher.accepted().len() <= 101);
                assert!(matcher.matches(&stated(&format!("linux/{architecture}/{variant}"))));
            }
        }
    }
}
