//! `sealpost`: signs property receipts and tells the channels how each sign flow ended.

use std::process::ExitCode;

fn main() -> ExitCode {
    sealpost_server::cli::main()
}
