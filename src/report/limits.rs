//! The bounds on what a build may say about its tests. Pure layer.

/// How much of a report croft keeps. What is past a bound is dropped and said in `TestReport::problems`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one protocol line. Default 1 MiB.
    pub line_bytes: usize,
    /// Bytes of all report parts as they stand in the log (base64 or text). Default 32 MiB.
    pub encoded_bytes: usize,
    /// Bytes of one document after decompression. Default 64 MiB.
    pub document_bytes: usize,
    /// Named documents in one log. Default 64.
    pub documents: usize,
    /// Parts of one document. Default 100,000.
    pub parts: u32,
    /// Tests. Default 200,000.
    pub tests: usize,
    /// Bytes of all names and messages together. Default 64 MiB.
    pub text_bytes: usize,
    /// Characters of a suite's or test's name. Default 1,000.
    pub name_chars: usize,
    /// Characters of a message. Default 4,000.
    pub message_chars: usize,
    /// Sentences in `problems`; the last one counts the others. Default 20.
    pub problems: usize,
    /// Elements of a `JUnit` document within each other. Default 32.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            line_bytes: MIB,
            encoded_bytes: 32 * MIB,
            document_bytes: 64 * MIB,
            documents: 64,
            parts: 100_000,
            tests: 200_000,
            text_bytes: 64 * MIB,
            name_chars: 1_000,
            message_chars: 4_000,
            problems: 20,
            depth: 32,
        }
    }
}
