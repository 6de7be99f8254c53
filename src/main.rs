//! The command `cohort`.

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    cohort::cli::run()
}

/// For `wasm32` there is the library only.
#[cfg(target_arch = "wasm32")]
fn main() {}
