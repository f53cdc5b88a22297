//! Compressing a layer and knowing its digests, in one pass.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use image::{Algorithm, Descriptor, Digest, Hasher};

use crate::compression::{Compression, Decompressor};

/// The compressor gets its bytes in pieces of this size, however they come, so that its output follows from the bytes.
const PIECE: usize = 128 << 10;

/// What is known of a layer that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// How it is compressed.
    pub compression: Compression,
    /// Digest of the compressed bytes: the layer's name in a registry.
    pub digest: Digest,
    /// Length of the compressed bytes.
    pub size: u64,
    /// Digest of the bytes before compression: the layer's name in an image's config.
    pub diff_id: Digest,
    /// Length of the bytes before compression.
    pub unpacked_size: u64,
}

impl Layer {
    /// The layer's descriptor, with OCI's media type.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.compression.media_type(), self.digest.clone(), self.size)
    }
}

/// Takes the bytes of an archive, hands them on compressed, and knows digest and diff ID in the end.
///
/// ```
/// # use polyarch_layer as layer;
/// use layer::{Compression, Entry, LayerWriter, TarWriter};
///
/// let mut tar = TarWriter::new(LayerWriter::new(Vec::new(), Compression::Gzip)?);
/// tar.append_bytes(Entry::file("bin/app", 0).with_mode(0o755), b"hi")?;
/// let (blob, layer) = tar.finish()?.finish()?;
/// assert_eq!(layer.digest, image::Digest::sha256(&blob));
/// assert_eq!(layer.size, blob.len() as u64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LayerWriter<W: Write> {
    compression: Compression,
    piece: Vec<u8>,
    unpacked: Hasher,
    encoder: Encoder<W>,
}

enum Encoder<W: Write> {
    /// Its two digests are one, which is not worked out twice.
    Plain(W),
    Gzip(flate2::write::GzEncoder<Hashing<W>>),
    Zstd(zstd::Encoder<'static, Hashing<W>>),
}

/// Hashes what passes.
struct Hashing<W> {
    sink: W,
    hasher: Hasher,
}

impl<W: Write> LayerWriter<W> {
    /// Compresses into `sink` at the usual level.
    pub fn new(sink: W, compression: Compression) -> io::Result<Self> {
        let level = match compression {
            Compression::Gzip => 6,
            _ => 3,
        };
        Self::with_level(sink, compression, level)
    }

    /// Compresses into `sink`. Levels are gzip's 0 to 9, zstd's 1 to 19; what is beyond counts as the nearest.
    pub fn with_level(sink: W, compression: Compression, level: u32) -> io::Result<Self> {
        let hashing = |sink| Hashing { sink, hasher: Hasher::new(Algorithm::Sha256) };
        let encoder = match compression {
            Compression::None => Encoder::Plain(sink),
            Compression::Gzip => {
                // No time, no name, no system: nothing in the header tells where it was written.
                let header = flate2::GzBuilder::new().mtime(0).operating_system(255);
                Encoder::Gzip(header.write(hashing(sink), flate2::Compression::new(level.min(9))))
            }
            Compression::Zstd => {
                let level = i32::try_from(level.clamp(1, 19)).unwrap_or(3);
                Encoder::Zstd(zstd::Encoder::new(hashing(sink), level)?)
            }
        };
        Ok(Self { compression, piece: Vec::with_capacity(PIECE), unpacked: Hasher::new(Algorithm::Sha256), encoder })
    }

    /// Ends the stream and gives back what took it, with what is known now.
    pub fn finish(mut self) -> io::Result<(W, Layer)> {
        self.hand_on()?;
        let unpacked_size = self.unpacked.length();
        let diff_id = self.unpacked.finish();
        let (sink, digest, size) = match self.encoder {
            Encoder::Plain(sink) => (sink, diff_id.clone(), unpacked_size),
            Encoder::Gzip(encoder) => encoder.finish()?.finish(),
            Encoder::Zstd(encoder) => encoder.finish()?.finish(),
        };
        Ok((sink, Layer { compression: self.compression, digest, size, diff_id, unpacked_size }))
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.unpacked.update(&self.piece);
        match &mut self.encoder {
            Encoder::Plain(sink) => sink.write_all(&self.piece)?,
            Encoder::Gzip(encoder) => encoder.write_all(&self.piece)?,
            Encoder::Zstd(encoder) => encoder.write_all(&self.piece)?,
        }
        self.piece.clear();
        Ok(())
    }
}

impl<W: Write> Write for LayerWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.hand_on()?;
        }
        Ok(count)
    }

    /// Does nothing: a flush in the middle would change the compressed bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> fmt::Debug for LayerWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerWriter").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl<W> Hashing<W> {
    fn finish(self) -> (W, Digest, u64) {
        let size = self.hasher.length();
        (self.sink, self.hasher.finish(), size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Undoes the compression of a layer and knows its diff ID in the end.
#[derive(Debug)]
pub struct LayerReader<R: BufRead> {
    source: Decompressor<R>,
    hasher: Hasher,
}

impl<R: BufRead> LayerReader<R> {
    /// Reads a layer of which no more than `limit` bytes come out.
    pub fn new(source: R, compression: Compression, limit: u64) -> io::Result<Self> {
        Ok(Self { source: compression.reader(source, limit)?, hasher: Hasher::new(Algorithm::Sha256) })
    }

    /// Reads what is left, which the archive in it does not need, and gives the diff ID and the length in bytes.
    pub fn finish(mut self) -> io::Result<(Digest, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        let length = self.hasher.length();
        Ok((self.hasher.finish(), length))
    }
}

impl<R: BufRead> Read for LayerReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Half of it repeats, so that there is something to compress.
            if state & 0x8000_0000 == 0 { 0 } else { (state >> 16) as u8 }
        };
        (0..length).map(|_| next()).collect()
    }

    fn write(compression: Compression, bytes: &[u8], step: usize) -> (Vec<u8>, Layer) {
        let mut layer = LayerWriter::new(Vec::new(), compression).unwrap();
        for piece in bytes.chunks(step) {
            layer.write_all(piece).unwrap();
            layer.flush().unwrap();
        }
        layer.finish().unwrap()
    }

    #[test]
    fn digests_and_sizes_are_those_of_the_bytes() {
        let bytes = noise(300_000);
        for compression in ALL {
            let (blob, layer) = write(compression, &bytes, 1 << 20);
            assert_eq!((&layer.digest, layer.size), (&Digest::sha256(&blob), blob.len() as u64));
            assert_eq!((&layer.diff_id, layer.unpacked_size), (&Digest::sha256(&bytes), bytes.len() as u64));
            assert_eq!(layer.descriptor().media_type, compression.media_type());
            assert_eq!(Compression::detect(&blob), compression);

            let mut reader = LayerReader::new(blob.as_slice(), compression, bytes.len() as u64).unwrap();
            let mut start = [0; 10];
            reader.read_exact(&mut start).unwrap();
            assert_eq!(start, bytes[..10]);
            assert_eq!(reader.finish().unwrap(), (layer.diff_id, layer.unpacked_size));
        }
    }

    #[test]
    fn how_the_bytes_come_does_not_matter() {
        let bytes = noise(400_000);
        for compression in ALL {
            let want = write(compression, &bytes, bytes.len());
            for step in [7, 4096, PIECE - 1, PIECE, PIECE + 1] {
                assert_eq!(write(compression, &bytes, step), want, "{compression} {step}");
            }
        }
    }

    #[test]
    fn the_gzip_header_tells_nothing() {
        let (blob, _) = write(Compression::Gzip, b"x", 1);
        assert_eq!(blob[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn an_empty_layer_is_a_layer() {
        for compression in ALL {
            let (blob, layer) = write(compression, b"", 1);
            assert_eq!(layer.diff_id, Digest::sha256(b""));
            let reader = LayerReader::new(blob.as_slice(), compression, 0).unwrap();
            assert_eq!(reader.finish().unwrap().1, 0);
        }
    }
}
