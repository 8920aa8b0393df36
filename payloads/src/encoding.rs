//! Compressed bodies.

use std::fmt;
use std::str::FromStr;

use flate2::{Compress, Compression, Crc, FlushCompress};

use crate::Error;

/// How bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `gzip` (RFC 1952).
    Gzip,
    /// `zstd` (RFC 8878).
    Zstd,
}

/// Compresses bodies one after the other with the same tables.
pub(crate) enum Encoder {
    Gzip(Box<Compress>),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

/// What `gzip` and `zstd` use unless told otherwise.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Deflate, no flags, no time, no extra flags, unknown system (RFC 1952, 2.3).
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

impl Encoding {
    /// Starts compressing.
    pub(crate) fn encoder(self) -> Encoder {
        match self {
            Self::Gzip => Encoder::Gzip(Box::new(Compress::new(Compression::new(GZIP_LEVEL), false))),
            Self::Zstd => {
                let compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL);
                Encoder::Zstd(Box::new(compressor.expect("the level is one that zstd has")))
            }
        }
    }
}

impl Encoder {
    /// `body` compressed.
    pub(crate) fn encode(&mut self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Gzip(compress) => gzip(compress, body),
            Self::Zstd(compressor) => compressor.compress(body).expect("memory is all it needs"),
        }
    }
}

fn gzip(compress: &mut Compress, body: &[u8]) -> Vec<u8> {
    compress.reset();
    let mut out = GZIP_HEAD.to_vec();
    // Room for what does not compress: five bytes a block of at most 16 KiB here, and the end.
    out.reserve(body.len() + body.len() / 1_000 + 64);
    let mut rest = body;
    loop {
        let before = compress.total_in();
        let status =
            compress.compress_vec(rest, &mut out, FlushCompress::Finish).expect("nothing can fail in memory");
        rest = &rest[(compress.total_in() - before) as usize..];
        if status == flate2::Status::StreamEnd {
            break;
        }
        out.reserve(out.len());
    }
    let mut crc = Crc::new();
    crc.update(body);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
    out
}

impl FromStr for Encoding {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Error::Encoding(text.to_owned())),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn bodies() -> Vec<Vec<u8>> {
        let mut rng = payloads_fresh::Rng::new(1);
        let noise: Vec<u8> = (0..200_000).map(|_| rng.bits() as u8).collect();
        vec![Vec::new(), b"{\"a\":1}".to_vec(), b"abc".repeat(100_000), noise]
    }

    #[test]
    fn what_is_compressed_reads_back() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let mut encoder = encoding.encoder();
            for body in bodies() {
                let encoded = encoder.encode(&body);
                let mut decoded = Vec::new();
                match encoding {
                    // The decoder checks the sum and the length.
                    Encoding::Gzip => {
                        flate2::read::GzDecoder::new(encoded.as_slice()).read_to_end(&mut decoded).unwrap()
                    }
                    Encoding::Zstd => zstd::stream::read::Decoder::new(encoded.as_slice())
                        .unwrap()
                        .read_to_end(&mut decoded)
                        .unwrap(),
                };
                assert_eq!(decoded, body);
                assert_eq!(encoder.encode(&body), encoded, "what came before does not matter");
            }
        }
    }

    #[test]
    fn an_encoding_reads_as_it_is_written() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            assert_eq!(encoding.to_string().parse(), Ok(encoding));
        }
        let error = "br".parse::<Encoding>().unwrap_err().to_string();
        assert_eq!(error, "need gzip or zstd, got \"br\": use one of them");
    }
}
