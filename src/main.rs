//! The `croft` program.

fn main() -> std::process::ExitCode {
    croft::cli::main()
}
