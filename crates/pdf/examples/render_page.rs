//! Renders a page of any PDF in a process of its own: `cargo run -p sealpost-pdf --example render_page -- FILE PAGE OUT.png`, the
//! pages counted from 1.

use std::process::ExitCode;

use sealpost_pdf::render;

fn main() -> ExitCode {
    if let Some(code) = render::isolate() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let [_, file, page, out] = arguments.as_slice() else {
        eprintln!("usage: render_page FILE PAGE OUT.png");
        return ExitCode::from(2);
    };
    let page = page.parse::<usize>().unwrap_or(0).wrapping_sub(1);
    let rendered = std::fs::read(file)
        .map_err(|error| error.to_string())
        .and_then(|pdf| render::page_png(&pdf, page, 1200).map_err(|error| error.to_string()))
        .and_then(|png| std::fs::write(out, png).map_err(|error| error.to_string()));
    match rendered {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
