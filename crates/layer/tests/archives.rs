//! Archives against another implementation, against hostility and against chance.

use std::io::{self, Read};

use polyarch_layer::{Device, Entry, EntryKind, TarError, TarLimits, TarReader, TarWriter};
use proptest::prelude::*;

fn write(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (entry, content) in entries {
        tar.append(entry, content.as_slice()).unwrap_or_else(|error| panic!("{error}: {entry:?}"));
    }
    tar.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut tar = TarReader::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = tar.next_entry()? {
        let mut content = Vec::new();
        tar.content().read_to_end(&mut content).map_err(|error| match error.downcast::<TarError>() {
            Ok(error) => error,
            Err(error) => TarError::Read(error),
        })?;
        all.push((entry, content));
    }
    Ok(all)
}

fn error(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

/// A header with everything as it should be, to be spoilt.
fn header(name: &str, kind: u8, size: u64) -> [u8; 512] {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    *header.as_bytes()
}

fn resealed(mut header: [u8; 512], change: impl FnOnce(&mut [u8; 512])) -> [u8; 512] {
    change(&mut header);
    let mut sealed = tar::Header::new_old();
    sealed.as_mut_bytes().copy_from_slice(&header);
    sealed.set_cksum();
    *sealed.as_bytes()
}

fn block(content: &[u8]) -> Vec<u8> {
    let mut out = content.to_vec();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn extended(kind: u8, records: &[u8]) -> Vec<u8> {
    [header("x", kind, records.len() as u64).to_vec(), block(records)].concat()
}

#[test]
fn another_reader_reads_what_is_written() {
    let long = "d/".repeat(80) + "name";
    let entries = [
        (Entry::directory("etc").with_mode(0o700), Vec::new()),
        (Entry::file("etc/caf\u{e9}", 3).with_mtime(1_700_000_000).with_owner(1000, 3_000_000), b"abc".to_vec()),
        (Entry::file(long.clone(), 600), vec![7; 600]),
        (Entry::symlink("link", "t".repeat(150)), Vec::new()),
        (Entry::hardlink("hard", "etc/caf\u{e9}"), Vec::new()),
        (Entry::new("null", EntryKind::CharacterDevice(Device { major: 1, minor: 3 })), Vec::new()),
    ];
    let bytes = write(&entries);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut all = archive.entries().unwrap().map(Result::unwrap);
    let first = all.next().unwrap();
    assert_eq!((&*first.path_bytes(), first.header().mode().unwrap()), (&b"etc/"[..], 0o700));
    let mut second = all.next().unwrap();
    assert_eq!(&*second.path_bytes(), "etc/caf\u{e9}".as_bytes());
    assert_eq!((second.header().uid().unwrap(), second.header().mtime().unwrap()), (1000, 1_700_000_000));
    let mut content = String::new();
    second.read_to_string(&mut content).unwrap();
    assert_eq!(content, "abc");
    let third = all.next().unwrap();
    assert_eq!((&*third.path_bytes(), third.size()), (long.as_bytes(), 600));
    assert_eq!(all.next().unwrap().link_name_bytes().unwrap().len(), 150);
    assert_eq!(&*all.next().unwrap().link_name_bytes().unwrap(), "etc/caf\u{e9}".as_bytes());
    assert_eq!(all.next().unwrap().header().device_minor().unwrap(), Some(3));
    assert!(all.next().is_none());
    assert_eq!(read(&bytes).unwrap(), entries);
}

#[test]
fn what_another_writer_writes_is_read() {
    let long = "long/".repeat(60) + "name";
    let mut builder = tar::Builder::new(Vec::new());
    for path in ["./short", long.as_str()] {
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o755);
        header.set_uid(u64::from(u32::MAX));
        header.set_mtime(5);
        builder.append_data(&mut header, path, &b"ab"[..]).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "link", &long).unwrap();
    builder.append_pax_extensions([("mtime", &b"3.25"[..]), ("SCHILY.xattr.user.a", b"1")]).unwrap();
    builder.append_dir("dir", ".").unwrap();
    let all = read(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(all[0].0.path, b"short", "as the other writer spells it");
    assert_eq!((all[1].0.path.as_slice(), all[1].1.as_slice()), (long.as_bytes(), &b"ab"[..]));
    assert_eq!((all[1].0.uid, all[1].0.mode, all[1].0.mtime), (u64::from(u32::MAX), 0o755, 5));
    assert_eq!(all[2].0.kind, EntryKind::Symlink { target: long.into_bytes() });
    assert_eq!((all[3].0.kind.clone(), all[3].0.path.as_slice()), (EntryKind::Directory, &b"dir"[..]));
    assert_eq!((all[3].0.mtime, all[3].0.mtime_nanos), (3, 250_000_000));
    assert_eq!(all[3].0.xattrs, [(b"user.a".to_vec(), b"1".to_vec())].into());
}

#[test]
fn an_archive_may_end_without_empty_blocks_but_not_within_an_entry() {
    let whole = write(&[(Entry::file("a", 600), vec![1; 600]), (Entry::directory("b"), Vec::new())]);
    for end in 0..whole.len() {
        let result = read(&whole[..end]);
        let between = end == 0 || end == 512 * 3 || end >= 512 * 4;
        if between && (end % 512 == 0) {
            assert!(result.is_ok(), "{end}");
        } else {
            assert!(matches!(result, Err(TarError::Truncated { .. })), "{end}: {result:?}");
        }
    }
}

#[test]
fn broken_headers_are_refused() {
    assert_eq!(error(&[1; 512]), "the archive is broken at byte 0: the checksum of a header is wrong");
    let spoilt = |change: fn(&mut [u8; 512])| error(&resealed(header("a", b'0', 0), change));
    for (text, what) in [
        (spoilt(|h| h[124..136].fill(b'9')), "the size is no number"),
        (spoilt(|h| h[124..136].fill(0xff)), "the size is no number"),
        (spoilt(|h| h[108..116].fill(0xff)), "the number of the user is no number"),
        (spoilt(|h| h[136] = b'x'), "the time is no number"),
        (spoilt(|h| h[100] = b'-'), "the mode is no number"),
    ] {
        assert_eq!(text, format!("the archive is broken at byte 0: {what}"));
    }
    let behind = [&[0; 512][..], &header("a", b'0', 0)].concat();
    assert_eq!(error(&behind), "the archive is broken at byte 512: something stands behind an empty block");
    let sparse = error(&resealed(header("a", b'S', 0), |_| {}));
    assert_eq!(sparse, "the archive has an entry of a kind that is not supported: `a` is a sparse file");
    let sparse = error(&[extended(b'x', b"22 GNU.sparse.major=1\n"), header("a", b'0', 0).to_vec()].concat());
    assert!(sparse.ends_with("`a` is a sparse file"), "{sparse}");
    assert!(error(&resealed(header("a", b'M', 0), |_| {})).ends_with("`a` is of type `M`"));
}

/// What one parser takes for content and another for headers hides files from one of them.
#[test]
fn what_parsers_disagree_about_is_refused() {
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let hidden = [header("a", kind, 512).to_vec(), header("hidden", b'0', 0).to_vec()].concat();
        assert!(error(&hidden).ends_with("something that is no file has a size"), "{}", char::from(kind));
    }
    for record in [&b"12 path=../a\n"[..], b"8 size=9\n", b"13 linkpath=a\n"] {
        let length = record.len();
        let record =
            [length.to_string().as_bytes(), &record[record.iter().position(|&b| b == b' ').unwrap()..]].concat();
        let global = [extended(b'g', &record), header("a", b'0', 0).to_vec()].concat();
        assert!(error(&global).ends_with("a global header sets path or size"), "{}", String::from_utf8_lossy(&record));
    }
    let harmless = [extended(b'g', b"17 comment=abcdef\n"), header("a", b'0', 0).to_vec()].concat();
    assert_eq!(error(&harmless), "the archive is broken at byte 0: a global header is no list of records");
    let harmless = [extended(b'g', b"18 comment=abcdef\n"), header("a", b'0', 0).to_vec()].concat();
    assert_eq!(read(&harmless).unwrap().len(), 1);
    let twice =
        [extended(b'x', b"10 path=b\n"), extended(b'x', b"10 path=c\n"), header("a", b'0', 0).to_vec()].concat();
    assert!(error(&twice).contains("broken at byte"), "{}", error(&twice));
    let twice = [extended(b'x', b"9 path=b\n"), extended(b'x', b"9 path=c\n"), header("a", b'0', 0).to_vec()].concat();
    assert!(error(&twice).ends_with("two extended headers for one entry"));
    let zero = [extended(b'x', b"12 path=b\0c\n"), header("a", b'0', 0).to_vec()].concat();
    assert!(error(&zero).ends_with("a path has a zero byte"));
    let alone = extended(b'x', b"9 path=b\n");
    assert_eq!(error(&alone), "the archive is cut off at byte 1024");
}

#[test]
fn limits_hold() {
    let limited = |bytes: &[u8], limits| {
        let mut tar = TarReader::with_limits(bytes, limits);
        loop {
            match tar.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => return "fine".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    };
    let two = write(&[(Entry::file("a", 600), vec![1; 600]), (Entry::file("b", 1), vec![1])]);
    let limits = TarLimits::default();
    assert_eq!(limited(&two, TarLimits { entries: 2, content: 601, ..limits }), "fine");
    assert_eq!(limited(&two, TarLimits { entries: 1, ..limits }), "the archive has more than 1 entries");
    assert_eq!(limited(&two, TarLimits { content: 600, ..limits }), "the archive has more than 600 bytes of content");
    let long = header("x", b'L', u64::from(u32::MAX));
    assert_eq!(limited(&long, limits), "the archive has more than 1048576 bytes of extended headers");
    // Headers that announce and announce, and never come to the point.
    let endless = extended(b'g', b"").repeat(100);
    assert_eq!(limited(&endless, TarLimits { entries: 50, ..limits }), "the archive has more than 50 entries");
    let huge = resealed(header("a", b'0', 0), |h| {
        h[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    });
    assert_eq!(limited(&huge, limits), format!("the archive has more than {} bytes of content", 64_u64 << 30));
}

#[test]
fn content_that_is_not_read_is_skipped() {
    let bytes = write(&[(Entry::file("a", 5000), vec![1; 5000]), (Entry::file("b", 2), b"hi".to_vec())]);
    let mut tar = TarReader::new(bytes.as_slice());
    tar.next_entry().unwrap().unwrap();
    tar.content().read_exact(&mut [0; 700]).unwrap();
    tar.next_entry().unwrap().unwrap();
    let mut content = Vec::new();
    tar.content().read_to_end(&mut content).unwrap();
    assert_eq!(content, b"hi");
    assert_eq!(io::copy(&mut tar.content(), &mut io::sink()).unwrap(), 0);
    assert!(tar.next_entry().unwrap().is_none());
    assert!(tar.next_entry().unwrap().is_none(), "and stays at the end");
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        4 => "[a-z.]{1,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..20),
        1 => prop::collection::vec(b'a'..=b'z', 90..200),
    ];
    prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/')).prop_filter("a path for an archive", |path| {
        !path.contains(&0)
            && !path.starts_with(b"/")
            && !path.ends_with(b"/")
            && path.split(|&b| b == b'/').all(|name| name != b"..")
            && path.split(|&b| b == b'/').any(|name| !name.is_empty() && name != b".")
    })
}

fn entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let device = (0..0o7_777_777_u32, 0..0o7_777_777_u32).prop_map(|(major, minor)| Device { major, minor });
    let kind = prop_oneof![
        4 => Just(EntryKind::File),
        2 => Just(EntryKind::Directory),
        1 => path().prop_map(|target| EntryKind::Symlink { target: [b"../", target.as_slice()].concat() }),
        1 => path().prop_map(|target| EntryKind::Hardlink { target }),
        1 => device.clone().prop_map(EntryKind::CharacterDevice),
        1 => device.prop_map(EntryKind::BlockDevice),
        1 => Just(EntryKind::Fifo),
    ];
    let time = (
        prop_oneof![0..4_000_000_000_i64, any::<i32>().prop_map(i64::from), any::<i64>()],
        prop_oneof![3 => Just(0), 1 => 0..1_000_000_000_u32],
    );
    let xattrs = prop::collection::btree_map(
        "[a-z.]{1,8}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..20),
        0..3,
    );
    let content = prop::collection::vec(any::<u8>(), 0..1500);
    (path(), kind, 0..0o10000_u32, any::<u64>(), any::<u32>(), time, xattrs, content).prop_map(
        |(path, kind, mode, uid, gid, (mtime, mtime_nanos), xattrs, content)| {
            let content = if kind == EntryKind::File { content } else { Vec::new() };
            let size = content.len() as u64;
            (Entry { path, kind, size, mode, uid, gid: gid.into(), mtime, mtime_nanos, xattrs }, content)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(entries in prop::collection::vec(entry(), 0..6)) {
        let bytes = write(&entries);
        prop_assert_eq!(bytes.len() % 512, 0);
        prop_assert_eq!(write(&entries) == bytes, true, "the same entries give the same bytes");
        prop_assert_eq!(read(&bytes).unwrap(), entries);
    }

    #[test]
    fn damage_never_makes_it_panic(
        entries in prop::collection::vec(entry(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        resealing in any::<bool>(),
    ) {
        let mut bytes = write(&entries);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if resealing {
                let start = at - at % 512;
                let mut block = [0; 512];
                block.copy_from_slice(&bytes[start..start + 512]);
                bytes[start..start + 512].copy_from_slice(&resealed(block, |_| {}));
            }
        }
        if let Ok(entries) = read(&bytes) {
            let content: usize = entries.iter().map(|(_, content)| content.len()).sum();
            prop_assert!(content <= bytes.len());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read(&bytes);
    }
}
