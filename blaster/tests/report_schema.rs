//! The JSON report holds to its published schema, and the schema is strict enough to notice a change.

#[path = "samples/reports.rs"]
mod reports;

use blaster::output::json;
use jsonschema::Validator;
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::from_str(include_str!("../report.schema.json")).unwrap()
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).unwrap()
}

fn sample(name: &str) -> Value {
    let (_, report) = reports::all().into_iter().find(|(other, _)| *other == name).unwrap();
    serde_json::from_str(&json::render(&report)).unwrap()
}

#[test]
fn the_schema_is_a_schema() {
    jsonschema::meta::validate(&schema()).unwrap();
}

#[test]
fn every_shape_of_report_holds_to_the_schema() {
    let validator = validator();
    for (name, report) in reports::all() {
        let value: Value = serde_json::from_str(&json::render(&report)).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
}

#[test]
fn a_key_more_or_less_or_of_another_type_is_noticed() {
    let validator = validator();
    let report = sample("several classes");
    let objects =
        ["", "/requests", "/rate", "/response_time_ns", "/lateness_ns/own", "/plan", "/generator/cores/0"];
    let more = [
        "/verdict",
        "/classes/0",
        "/intervals/0",
        "/warmup",
        "/connections/failed",
        "/histograms/clipped",
        "/generator/wire",
    ];
    for path in objects.iter().chain(&more) {
        let mut with_more = report.clone();
        with_more.pointer_mut(path).unwrap().as_object_mut().unwrap().insert("new_key".to_owned(), json!(1));
        assert!(!validator.is_valid(&with_more), "a new key in {path:?} goes unnoticed");
        let keys: Vec<_> = report.pointer(path).unwrap().as_object().unwrap().keys().cloned().collect();
        for key in keys {
            let mut with_less = report.clone();
            with_less.pointer_mut(path).unwrap().as_object_mut().unwrap().remove(&key);
            assert!(!validator.is_valid(&with_less), "{key} of {path:?} may be missing");
        }
    }
    for (path, value) in [
        ("/response_time_ns/p99", json!(1.5)),
        ("/requests/sent", json!(-1)),
        ("/verdict/status", json!("fine")),
        ("/plan/rate", json!("fast")),
        ("/requests/status", json!({ "abc": 1 })),
        ("/schema", json!(2)),
    ] {
        let mut other = report.clone();
        *other.pointer_mut(path).unwrap() = value.clone();
        assert!(!validator.is_valid(&other), "{path} may be {value}");
    }
}
