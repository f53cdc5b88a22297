//! Heads of answers, and where their bodies end: as little of HTTP/1.1 as it takes.

use crate::fault::Fault;

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    UntilClosed,
}

/// What of a head is needed for every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// Whether the connection stays open.
    pub(crate) keeps: bool,
}

impl Head {
    /// Reads a head without its empty line. `headless` answers have no body whatever they say (`HEAD`).
    pub(crate) fn parse(head: &[u8], headless: bool) -> Result<Self, Fault> {
        let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let version = line.get(..8).unwrap_or_default();
        let status = line.get(9..12).and_then(number).filter(|status| (100..1000).contains(status));
        let (b"HTTP/1.0" | b"HTTP/1.1", Some(status)) = (version, status) else {
            return Err(Fault::Malformed("no status line"));
        };
        let mut keeps = version == b"HTTP/1.1";
        let mut framing = Framing::UntilClosed;
        for (name, value) in fields(head) {
            if name.eq_ignore_ascii_case(b"content-length") {
                let length = number(value).ok_or(Fault::Malformed("a length that is no number"))?;
                if framing == Framing::UntilClosed {
                    framing = Framing::Length(length);
                }
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                framing = Framing::Chunked;
            } else if name.eq_ignore_ascii_case(b"connection") {
                keeps &= !value.eq_ignore_ascii_case(b"close");
            }
        }
        if headless || status < 200 || status == 204 || status == 304 {
            framing = Framing::Length(0);
        }
        Ok(Self { status: status as u16, framing, keeps: keeps && framing != Framing::UntilClosed })
    }
}

/// The value of a header.
pub(crate) fn field<'a>(head: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    fields(head).find(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes())).map(|(_, value)| value)
}

fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|&byte| byte == b'\n').skip(1).filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Takes the chunks of a body apart.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: State,
    /// Bytes of the chunk that are still to come.
    left: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// The rest of the line of a size.
    Extension,
    Data,
    /// The line feed after a chunk.
    End,
    /// Lines after the last chunk; whether this one is empty so far.
    Trailer(bool),
    Done,
}

impl Chunks {
    /// Hands what of `bytes` is body to `take`. True once the body is whole.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8])) -> Result<bool, Fault> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Size => match (byte as char).to_digit(16) {
                    Some(digit) => {
                        let left = self.left.checked_mul(16).ok_or(Fault::Malformed("a chunk without end"))?;
                        self.left = left + u64::from(digit);
                    }
                    None if byte == b'\n' => self.begin(),
                    None => self.state = State::Extension,
                },
                State::Extension => {
                    if byte == b'\n' {
                        self.begin();
                    }
                }
                State::Data => {
                    let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                    take(&bytes[..length]);
                    self.left -= length as u64;
                    if self.left == 0 {
                        self.state = State::End;
                    }
                    bytes = &bytes[length..];
                    continue;
                }
                State::End => {
                    if byte == b'\n' {
                        self.state = State::Size;
                    }
                }
                State::Trailer(empty) => {
                    self.state = match byte {
                        b'\n' if empty => State::Done,
                        b'\n' => State::Trailer(true),
                        b'\r' => State::Trailer(empty),
                        _ => State::Trailer(false),
                    };
                }
                State::Done => return Ok(true),
            }
            bytes = rest;
        }
        Ok(self.state == State::Done)
    }

    fn begin(&mut self) {
        self.state = if self.left == 0 { State::Trailer(true) } else { State::Data };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_where_the_body_ends() {
        let parse = |text: &str| Head::parse(text.as_bytes(), false);
        let head = |status, framing, keeps| Ok(Head { status, framing, keeps });
        assert_eq!(parse("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n"), head(200, Framing::Length(12), true));
        assert_eq!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"), head(200, Framing::Chunked, true));
        let both = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\nConnection: close\r\n";
        assert_eq!(parse(both), head(200, Framing::Chunked, false));
        assert_eq!(parse("HTTP/1.1 200 OK\r\n"), head(200, Framing::UntilClosed, false));
        assert_eq!(parse("HTTP/1.1 204 No Content\r\n"), head(204, Framing::Length(0), true));
        assert_eq!(parse("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n"), head(200, Framing::Length(1), false));
        assert!(parse("SSH-2.0-x\r\n").is_err());
        assert!(parse("HTTP/1.1 20x OK\r\n").is_err());
        assert!(parse("HTTP/1.1 200 OK\r\ncontent-length: many\r\n").is_err());
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n";
        assert_eq!(Head::parse(answer, true).unwrap().framing, Framing::Length(0));
        assert_eq!(field(answer, "content-length"), Some(&b"12"[..]));
        assert_eq!(field(answer, "location"), None);
    }

    #[test]
    fn chunks_may_be_cut_anywhere() {
        let text = b"4\r\nabcd\r\n1a;x=y\r\nefghijklmnopqrstuvwxyz0123\r\n0\r\nTrailer: 1\r\n\r\n";
        for size in 1..=text.len() {
            let (mut chunks, mut body, mut done) = (Chunks::default(), Vec::new(), false);
            for piece in text.chunks(size) {
                assert!(!done);
                done = chunks.feed(piece, |bytes| body.extend_from_slice(bytes)).unwrap();
            }
            assert!(done, "{size}");
            assert_eq!(body, b"abcdefghijklmnopqrstuvwxyz0123");
        }
        assert!(Chunks::default().feed(b"fffffffffffffffff\r\n", |_| {}).is_err());
    }
}
