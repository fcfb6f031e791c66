//! Returns what is not JSON: the payload's text, if it is a string, otherwise an unclosed object.

dacapo::tasks![dacapo::__private::raw_task("invalid-json", |_, payload| {
    let text: Option<String> = dacapo::serde_json::from_str(payload).unwrap_or_default();
    Ok(text.unwrap_or("{\"unclosed\":".into()))
})];
