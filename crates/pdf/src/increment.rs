//! Incremental updates: what is appended to a PDF so that all its earlier bytes stay as they are.
