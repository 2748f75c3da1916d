//! Media types of the ledger's API.

/// A transaction: canonical CBOR (spec/ledger.md).
pub const CBOR: &str = "application/cbor";
/// A proof (spec/proof.md).
pub const PROOF: &str = "application/vnd.kusabi.proof";
/// A checkpoint (spec/proof.md).
pub const CHECKPOINT: &str = "application/vnd.kusabi.checkpoint";
/// A block (the crate's `block` module).
pub const BLOCK: &str = "application/vnd.kusabi.block";
/// Blocks one after the other, each after its length in four bytes; a length of zero only says that the sender is alive.
pub const BLOCKS: &str = "application/vnd.kusabi.blocks";
/// A freshness receipt (spec/freshness.md).
pub const FRESHNESS: &str = "application/vnd.kusabi.freshness";
/// Any bytes: a nonce; in `Accept` a wish for the binary form.
pub const OCTETS: &str = "application/octet-stream";
/// JSON, for people and scripts.
pub const JSON: &str = "application/json";
/// Server-sent events.
pub const EVENTS: &str = "text/event-stream";

/// Which of `offers` (media types, the default one first) the values of `Accept` want most (RFC 9110, section 12.5.1); none: none of
/// them. What has no readable quality counts as not wanted.
pub fn preferred<'v>(
    accept: impl IntoIterator<Item = &'v str>,
    offers: &[&'static str],
) -> Option<&'static str> {
    let ranges: Vec<(&str, u32)> = accept
        .into_iter()
        .flat_map(|value| value.split(','))
        .filter(|range| !range.trim().is_empty())
        .map(range)
        .collect();
    if ranges.is_empty() {
        return offers.first().copied();
    }
    // The most specific range that fits an offer says its quality; of equal ones the earlier offer is taken.
    let quality = |offer: &str| {
        let kind = offer.split('/').next().unwrap_or_default();
        let rank = |name: &str| match name.split_once('/') {
            _ if name.eq_ignore_ascii_case(offer) => Some(2),
            Some((name, "*")) if name.eq_ignore_ascii_case(kind) => Some(1),
            Some(("*", "*")) => Some(0),
            _ => None,
        };
        let fits = ranges
            .iter()
            .filter_map(|(name, q)| Some((rank(name)?, *q)));
        fits.max().map_or(0, |(_, quality)| quality)
    };
    let wanted = offers.iter().map(|offer| (quality(offer), *offer));
    let best = wanted.rev().max_by_key(|(quality, _)| *quality)?;
    (best.0 > 0).then_some(best.1)
}

/// Name and quality in thousandths.
fn range(text: &str) -> (&str, u32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let quality = parts
        .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
        .map_or(1000, |quality| match quality.parse::<f32>() {
            Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0) as u32,
            _ => 0,
        });
    (name, quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_preferred() {
        let preferred = |accept: &[&str]| preferred(accept.iter().copied(), &[JSON, CBOR]);
        for json in [
            &[][..],
            &[""],
            &["*/*"],
            &["application/*;q=0.5"],
            &["Application/JSON; charset=utf-8"],
            &["application/cbor;q=0.4, application/json;q=0.5"],
            &["application/cbor", "application/json"],
            &["text/html, */*;q=0.1"],
        ] {
            assert_eq!(preferred(json), Some(JSON), "{json:?}");
        }
        for cbor in [
            &["application/cbor"][..],
            &["application/json;q=0.1, application/cbor"],
            &["*/*, application/json;q=0"],
            &["*/*;q=0.1", "application/cbor;q=0.2"],
        ] {
            assert_eq!(preferred(cbor), Some(CBOR), "{cbor:?}");
        }
        for none in [
            "text/html",
            "application/json;q=0",
            "*/*;q=x",
            "*/*;q=2",
            "garbage",
        ] {
            assert_eq!(preferred(&[none]), None, "{none}");
        }
    }
}
