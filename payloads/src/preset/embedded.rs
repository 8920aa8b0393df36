//! The presets that come with the program: a file each in `payloads/presets`.

/// Name and content. To add one, write its file and add its line; the fingerprint test then asks for its fingerprint.
pub(super) const EMBEDDED: &[(&str, &str)] = &[
    ("events", include_str!("../../presets/events.toml")),
    ("segment", include_str!("../../presets/segment.toml")),
    ("rudderstack", include_str!("../../presets/rudderstack.toml")),
    ("posthog", include_str!("../../presets/posthog.toml")),
    ("amplitude", include_str!("../../presets/amplitude.toml")),
    ("mixpanel", include_str!("../../presets/mixpanel.toml")),
    ("snowplow", include_str!("../../presets/snowplow.toml")),
    ("ga4", include_str!("../../presets/ga4.toml")),
    ("matomo", include_str!("../../presets/matomo.toml")),
    ("clickhouse", include_str!("../../presets/clickhouse.toml")),
    ("tinybird", include_str!("../../presets/tinybird.toml")),
    ("otlp-logs", include_str!("../../presets/otlp-logs.toml")),
    ("ndjson", include_str!("../../presets/ndjson.toml")),
];
