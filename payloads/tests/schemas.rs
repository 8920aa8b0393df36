//! What every preset sends is what its API documents: each body is strict JSON and holds to the schema written from the
//! documentation (`schemas/NAME.json`, or `NAME.single.json` and `NAME.batch.json` where the two differ).

mod support;

use std::path::Path;

use jsonschema::Validator;
use payloads::{Mix, Wish, presets};
use serde_json::Value;
use support::{bodies, extent, requests};

/// Presets whose bodies are a value a line; the schema is a line's.
const BY_LINE: [&str; 3] = ["ndjson", "clickhouse", "tinybird"];

const REQUESTS: usize = 300;

fn schema(name: &str, kind: &str) -> Validator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas");
    let text = std::fs::read_to_string(folder.join(format!("{name}.{kind}.json")))
        .or_else(|_| std::fs::read_to_string(folder.join(format!("{name}.json"))))
        .unwrap_or_else(|error| panic!("preset {name} has no schema: {error}"));
    let schema: Value = serde_json::from_str(&text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

#[test]
fn every_body_of_every_preset_holds_to_the_documented_schema() {
    for preset in presets() {
        for batch in ["1", "2", "25"] {
            let kind = if batch == "1" { "single" } else { "batch" };
            let schema = schema(&preset.name, kind);
            let mix: Mix = batch.parse().unwrap();
            let wish = Wish { preset: Some(&preset.name), mix: Some(&mix), ..Wish::default() };
            let made = requests(&wish).unwrap_or_else(|error| panic!("{}: {error}", preset.name));
            let serialized = made.serialize("api:3000", extent(REQUESTS), 1, support::NOW_UNIX_NS).unwrap();
            for body in bodies(&serialized) {
                let by_line = BY_LINE.contains(&preset.name.as_str());
                let values: Vec<&str> = if by_line { body.lines().collect() } else { vec![body] };
                assert!(!by_line || values.len().to_string() == batch, "{}: {body}", preset.name);
                for value in values {
                    let value: Value =
                        serde_json::from_str(value).unwrap_or_else(|error| panic!("{error}: {body}"));
                    if let Err(error) = schema.validate(&value) {
                        panic!("{} at {}: {error}\n{body}", preset.name, error.instance_path());
                    }
                }
            }
        }
    }
}
