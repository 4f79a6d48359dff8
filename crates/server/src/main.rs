//! `sealpost`: signs property receipts and tells the channels how each sign flow ended.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Pages are rendered in processes of their own, which are this program again.
    if let Some(code) = sealpost_pdf::render::isolate() {
        return code;
    }
    sealpost_server::cli::main()
}
