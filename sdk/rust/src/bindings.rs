//! What wit-bindgen makes of `wit/`: the raw interface that the rest of this crate wraps.

// The world is smaller than `dacapo:task/task`: Rust's standard library has bindings of its own
// for the rest of WASI. An import that a task does not use does not reach its component.
wit_bindgen::generate!({
    inline: "
        package dacapo:sdk-rust;
        world sdk {
            include dacapo:task/extension-with-hooks@1.1.0;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:http/outgoing-handler@0.2.12;
        }
    ",
    path: "../../wit",
    world: "dacapo:sdk-rust/sdk",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "::dacapo::__private::bindings",
});
