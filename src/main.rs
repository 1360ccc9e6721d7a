//! The `fcdd` program: hands the command line to [`fcdd::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fcdd::cli::main()
}
