//! `spec/vectors/rules.json`: what an independent reading of spec/firmware.md makes, refuses and matches, core does alike.

use kusabi_core::inventory::{Pattern, Rules, TypeRules};
use serde::Deserialize;

use crate::trust::mutations;
use crate::vectors::{Hex, read};

#[derive(Deserialize)]
struct Vectors {
    rules: Vec<Case>,
    refused: Vec<Refused>,
    patterns: Vec<Matches>,
    names: Vec<String>,
}

#[derive(Deserialize)]
struct Case {
    bytes: Hex,
    types: Vec<Type>,
}

#[derive(Deserialize)]
struct Type {
    #[serde(rename = "type")]
    device_type: String,
    paths: Vec<String>,
    excluded: Vec<String>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    bytes: Hex,
}

#[derive(Deserialize)]
struct Matches {
    pattern: String,
    names: Vec<String>,
}

#[test]
fn rules_of_the_walk() {
    let vectors: Vectors = read("rules.json");
    for case in &vectors.rules {
        let rules = Rules::decode(&case.bytes.0).unwrap();
        assert_eq!(rules.encode(), case.bytes.0);
        let mut types = Vec::new();
        for one in &case.types {
            let patterns = one.excluded.iter().map(|text| Pattern::new(text).unwrap());
            let wanted = TypeRules {
                device_type: one.device_type.clone(),
                paths: one.paths.clone(),
                excluded: patterns.collect(),
            };
            assert_eq!(rules.of(&one.device_type), Some(&wanted));
            // In whatever order they are given.
            let mut given = wanted;
            given.paths.reverse();
            given.excluded.reverse();
            types.insert(0, given);
        }
        assert_eq!(rules.of("another"), None);
        assert_eq!(Rules::new(types), Ok(rules));
    }
    for (index, case) in vectors.refused.iter().enumerate() {
        let refused = format!("{:?}", Rules::decode(&case.bytes.0).unwrap_err());
        assert!(refused.starts_with(&case.error), "{index}: {refused}");
    }
}

#[test]
fn patterns_of_the_walk() {
    let vectors: Vectors = read("rules.json");
    for case in &vectors.patterns {
        let pattern = Pattern::new(&case.pattern).unwrap();
        let found = vectors.names.iter().filter(|name| pattern.is(name));
        let found: Vec<&String> = found.collect();
        assert_eq!(
            found,
            case.names.iter().collect::<Vec<_>>(),
            "{}",
            case.pattern
        );
    }
    // As long as both can be, and with as many stars: it ends at once all the same.
    let pattern = Pattern::new(&"*a".repeat(128)).unwrap();
    assert!(!pattern.is(&"a".repeat(127)));
    assert!(pattern.is(&"a".repeat(1024)));
    assert!(!pattern.is(&format!("{}b", "a".repeat(1023))));
}

/// Whatever is changed of the bytes: they are refused, or they are the rules that they encode.
#[test]
fn no_two_encodings_are_the_same_rules() {
    let vectors: Vectors = read("rules.json");
    for bytes in vectors.rules.iter().take(4).map(|case| &case.bytes.0) {
        mutations(bytes, |mutated, text| {
            if let Ok(rules) = Rules::decode(mutated) {
                assert_eq!(rules.encode(), mutated, "{text}");
            }
        });
    }
}
