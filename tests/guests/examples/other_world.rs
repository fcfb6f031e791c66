//! A component of another world: it does not export `dacapo:task/guest`.

#[cfg(target_arch = "wasm32")]
mod component {
    wit_bindgen::generate!({
        inline: "package example:other; world other { export answer: func() -> u32; }",
    });

    struct Other;

    impl Guest for Other {
        fn answer() -> u32 {
            42
        }
    }

    export!(Other);
}
