//! Histograms as text: base64 of HdrHistogram's V2 format with DEFLATE, which every HdrHistogram library reads.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use crate::load::recorder::{DIGITS, TIME_NS_MAX};

/// Why a text is no histogram that can be merged with ours.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// Not base64.
    #[error("the histogram is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Not V2 with DEFLATE.
    #[error("the histogram is not in HdrHistogram's V2+DEFLATE format: {0}")]
    Format(#[from] hdrhistogram::serialization::DeserializeError),
    /// Merging would not be exact.
    #[error(
        "the histogram has bounds {low}-{high} ns and {digits} digits; only 1-{TIME_NS_MAX} ns and {DIGITS} digits merge exactly"
    )]
    Bounds {
        /// Its lowest time.
        low: u64,
        /// Its highest time.
        high: u64,
        /// Its significant digits.
        digits: u8,
    },
}

/// The text of a histogram.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("our bounds fit and memory does not fail");
    BASE64_STANDARD.encode(bytes)
}

/// The histogram of a text.
pub fn decode(text: &str) -> Result<Histogram<u64>, EncodingError> {
    let bytes = BASE64_STANDARD.decode(text)?;
    let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice())?;
    if (histogram.low(), histogram.high(), histogram.sigfig()) != (1, TIME_NS_MAX, DIGITS) {
        let (low, high, digits) = (histogram.low(), histogram.high(), histogram.sigfig());
        return Err(EncodingError::Bounds { low, high, digits });
    }
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::histogram;

    #[test]
    fn a_histogram_survives_its_text() {
        let mut all = histogram();
        for value in [1, 17, 412_000, TIME_NS_MAX] {
            all.record_n(value, 3).unwrap();
        }
        assert_eq!(decode(&encode(&all)).unwrap(), all);
    }

    #[test]
    fn other_bounds_are_refused() {
        let other = Histogram::<u64>::new_with_bounds(1, 1000, 2).unwrap();
        assert!(matches!(decode(&encode(&other)), Err(EncodingError::Bounds { digits: 2, .. })));
        assert!(matches!(decode("#"), Err(EncodingError::Base64(_))));
        assert!(matches!(decode("AAAA"), Err(EncodingError::Format(_))));
    }
}
