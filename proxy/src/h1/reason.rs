//! Why a message is refused, in words that are stable: they stand in `x-laneway-error` and in a counter.

use std::fmt;

/// What is wrong with a message of a peer. RFC 9112 unless said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A line that does not end with CRLF (section 2.2).
    LineEnd,
    /// Not a token (RFC 9110 section 9.1).
    Method,
    /// None of the four forms of section 3.2, or no form for this method.
    Target,
    /// `#` in a target.
    Fragment,
    /// `%00` in a target.
    Nul,
    /// Not HTTP/1.0 and not HTTP/1.1.
    Version,
    /// No three digits from 100 to 999.
    Status,
    /// Not a token (RFC 9110 section 5.1), or space before the colon (section 5.1).
    FieldName,
    /// A byte that no value may hold (RFC 9110 section 5.5), or a folded line (section 5.2).
    FieldValue,
    /// More than [`super::FIELDS_MAX`].
    FieldsTooMany,
    /// More than [`super::HEAD_BYTES_MAX`].
    HeadTooLarge,
    /// Section 3.2: HTTP/1.1 needs one.
    HostMissing,
    HostTwice,
    /// Not `uri-host [ ":" port ]`.
    Host,
    /// Host and `:authority` name two (RFC 9113 section 8.3.1).
    HostDiffers,
    /// RFC 9110 section 4.2.4.
    Userinfo,
    /// Anything but exactly `chunked`, once (section 6.1).
    TransferEncoding,
    /// In HTTP/1.0 (section 6.1) or HTTP/2 (RFC 9113 section 8.2.2).
    TransferEncodingVersion,
    /// Section 6.1.
    TransferEncodingAndContentLength,
    /// Not digits, or above 2^63 - 1.
    ContentLength,
    ContentLengthTwice,
    /// A framing header spelled with `_`.
    FramingLookAlike,
    /// No digit, more than 16, or something else behind them (section 7.1).
    ChunkSize,
    /// A control character, or more than [`super::EXTENSION_BYTES_MAX`].
    ChunkExtension,
    /// Data that is not followed by CRLF.
    ChunkEnd,
    /// A field line behind the last chunk that is none.
    Trailer,
    /// More than [`super::TRAILER_BYTES_MAX`], or more lines than [`super::FIELDS_MAX`].
    TrailersTooLarge,
    /// The peer ended before the message did.
    Truncated,
    /// More interim answers than anybody needs.
    InterimFlood,
    /// 101 to a request that asked for no other protocol.
    UnaskedUpgrade,
    /// What the library of HTTP/2 refuses of an instance (RFC 9113).
    Frames,
    /// A head with a field or pseudo field of HTTP/2 that HTTP/1.1 cannot say, or the other way round.
    Translation,
}

impl Reason {
    /// The stable word.
    pub fn label(self) -> &'static str {
        match self {
            Reason::LineEnd => "line-end",
            Reason::Method => "method",
            Reason::Target => "target",
            Reason::Fragment => "fragment",
            Reason::Nul => "nul",
            Reason::Version => "version",
            Reason::Status => "status",
            Reason::FieldName => "field-name",
            Reason::FieldValue => "field-value",
            Reason::FieldsTooMany => "fields-too-many",
            Reason::HeadTooLarge => "head-too-large",
            Reason::HostMissing => "host-missing",
            Reason::HostTwice => "host-twice",
            Reason::Host => "host",
            Reason::HostDiffers => "host-differs",
            Reason::Userinfo => "userinfo",
            Reason::TransferEncoding => "transfer-encoding",
            Reason::TransferEncodingVersion => "transfer-encoding-version",
            Reason::TransferEncodingAndContentLength => "transfer-encoding-and-content-length",
            Reason::ContentLength => "content-length",
            Reason::ContentLengthTwice => "content-length-twice",
            Reason::FramingLookAlike => "framing-look-alike",
            Reason::ChunkSize => "chunk-size",
            Reason::ChunkExtension => "chunk-extension",
            Reason::ChunkEnd => "chunk-end",
            Reason::Trailer => "trailer",
            Reason::TrailersTooLarge => "trailers-too-large",
            Reason::Truncated => "truncated",
            Reason::InterimFlood => "interim-flood",
            Reason::UnaskedUpgrade => "unasked-upgrade",
            Reason::Frames => "frames",
            Reason::Translation => "translation",
        }
    }

    /// Too much rather than wrong: 431 instead of 400 (RFC 6585 section 5).
    pub fn is_too_large(self) -> bool {
        matches!(self, Reason::FieldsTooMany | Reason::HeadTooLarge)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}
