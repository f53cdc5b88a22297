//! How layers are compressed, and undone within bounds.

use std::fmt;
use std::io::{self, BufRead, Read};

use image::MediaType;

/// How the bytes of a layer are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip: what every engine reads.
    Gzip,
    /// Zstandard: faster and smaller.
    Zstd,
}

/// A layer whose compressed form is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layers of media type `{}` cannot be unpacked", .0.as_str().escape_debug())]
pub struct UnknownCompression(pub MediaType);

/// More came out of a compressed stream than it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unpacked, the layer has more than the limit of {limit} bytes")]
pub struct TooLong {
    /// The limit in bytes.
    pub limit: u64,
}

impl Compression {
    /// What the media type of a layer says.
    pub fn of(media_type: &MediaType) -> Result<Self, UnknownCompression> {
        match media_type.as_str() {
            MediaType::OCI_LAYER_GZIP | MediaType::DOCKER_LAYER_GZIP => return Ok(Self::Gzip),
            MediaType::OCI_LAYER | "application/vnd.docker.image.rootfs.diff.tar" => return Ok(Self::None),
            MediaType::OCI_LAYER_ZSTD | "application/vnd.docker.image.rootfs.diff.tar.zstd" => return Ok(Self::Zstd),
            _ => {}
        }
        // Foreign layers are compressed in the same ways.
        match media_type.as_str().rsplit_once(".tar").map(|(_, suffix)| suffix) {
            Some("") => Ok(Self::None),
            Some("+gzip" | ".gzip") => Ok(Self::Gzip),
            Some("+zstd" | ".zstd") => Ok(Self::Zstd),
            _ => Err(UnknownCompression(media_type.clone())),
        }
    }

    /// What the first bytes say. Media types lie: engines look at the bytes, too.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one that is to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The media type of an OCI layer that is compressed this way.
    pub fn media_type(self) -> MediaType {
        MediaType::from(match self {
            Self::None => MediaType::OCI_LAYER,
            Self::Gzip => MediaType::OCI_LAYER_GZIP,
            Self::Zstd => MediaType::OCI_LAYER_ZSTD,
        })
    }

    /// Undoes it. No more than `limit` bytes come out: an error that holds [`TooLong`] takes the place of the next one.
    pub fn reader<R: BufRead>(self, source: R, limit: u64) -> io::Result<Decompressor<R>> {
        let inner = match self {
            Self::None => Inner::Plain(source),
            // Some tools write a layer as several members, one after the other.
            Self::Gzip => Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Self::Zstd => Inner::Zstd(zstd::Decoder::with_buffer(source)?),
        };
        Ok(Decompressor { inner, left: limit, limit })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// The bytes of a layer before they were compressed.
pub struct Decompressor<R: BufRead> {
    inner: Inner<R>,
    left: u64,
    limit: u64,
}

enum Inner<R: BufRead> {
    Plain(R),
    Gzip(Box<flate2::bufread::MultiGzDecoder<R>>),
    Zstd(zstd::Decoder<'static, R>),
}

impl<R: BufRead> fmt::Debug for Decompressor<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<R: BufRead> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte beyond the limit is asked for, to tell a stream that goes on from one that ends there.
        let want = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..want];
        let count = match &mut self.inner {
            Inner::Plain(source) => source.read(buffer)?,
            Inner::Gzip(source) => source.read(buffer)?,
            Inner::Zstd(source) => source.read(buffer)?,
        };
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => Err(io::Error::new(io::ErrorKind::InvalidData, TooLong { limit: self.limit })),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(compression: Compression, bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.reader(bytes, limit)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn media_types_and_first_bytes_tell_the_compression() {
        for (media_type, want) in [
            (MediaType::OCI_LAYER, Compression::None),
            (MediaType::OCI_LAYER_GZIP, Compression::Gzip),
            (MediaType::DOCKER_LAYER_GZIP, Compression::Gzip),
            (MediaType::OCI_LAYER_ZSTD, Compression::Zstd),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::Gzip),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression::Zstd),
        ] {
            assert_eq!(Compression::of(&MediaType::from(media_type)), Ok(want), "{media_type}");
        }
        let error =
            Compression::of(&MediaType::from("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")).unwrap_err();
        assert!(error.to_string().ends_with("+encrypted` cannot be unpacked"), "{error}");
        assert_eq!(Compression::detect(&gzip(b"x")), Compression::Gzip);
        assert_eq!(Compression::detect(&zstd::encode_all(&b"x"[..], 1).unwrap()), Compression::Zstd);
        assert_eq!(Compression::detect(b"bin/"), Compression::None);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert_eq!(Compression::of(&compression.media_type()), Ok(compression));
        }
    }

    #[test]
    fn several_members_are_one_stream() {
        assert_eq!(read(Compression::Gzip, &[gzip(b"ab"), gzip(b""), gzip(b"c")].concat(), 10).unwrap(), b"abc");
        let frames = [zstd::encode_all(&b"ab"[..], 1).unwrap(), zstd::encode_all(&b"c"[..], 1).unwrap()].concat();
        assert_eq!(read(Compression::Zstd, &frames, 10).unwrap(), b"abc");
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let zeros = vec![0; 1 << 20];
        for (compression, bytes) in [
            (Compression::None, zeros.clone()),
            (Compression::Gzip, gzip(&zeros)),
            (Compression::Zstd, zstd::encode_all(zeros.as_slice(), 1).unwrap()),
        ] {
            assert_eq!(read(compression, &bytes, 1 << 20).unwrap().len(), 1 << 20);
            let error = read(compression, &bytes, (1 << 20) - 1).unwrap_err();
            assert_eq!(error.to_string(), "unpacked, the layer has more than the limit of 1048575 bytes");
            assert!(error.get_ref().unwrap().is::<TooLong>());
        }
    }

    #[test]
    fn damage_is_an_error() {
        for (compression, bytes) in
            [(Compression::Gzip, gzip(&[7; 1000])), (Compression::Zstd, zstd::encode_all(&[7; 1000][..], 1).unwrap())]
        {
            assert!(read(compression, &bytes[..bytes.len() - 1], 10_000).is_err(), "{compression}");
        }
        let mut sum = gzip(b"abc");
        let at = sum.len() - 6;
        sum[at] ^= 1;
        assert!(read(Compression::Gzip, &sum, 10).is_err());
        assert!(read(Compression::Gzip, &[gzip(b"ab"), b"junk".to_vec()].concat(), 10).is_err());
    }
}
