//! How plans, and the messages that carry them, are encoded: CBOR maps whose keys are the numbers
//! at the fields. `shim/protocol/COMPATIBILITY.md` says what may change and how.
//!
//! The derived code skips a field that it does not know and takes `None` for an optional one that
//! is missing. It would also take `None` for an optional value with an enum variant in it that it
//! does not know, and a container would run without what was asked for. So every optional field
//! whose type has an enum in it says `with = "…::strict_option"`; the protocol's golden tests fail
//! where one does not.

/// An optional value whose unknown variants are an error.
pub mod strict_option {
    use minicbor::decode::{Decode, Decoder};
    use minicbor::encode::{Encode, Encoder, Write};

    /// For the derived code.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, T: Encode<C>, W: Write>(
        value: &Option<T>,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        value.encode(encoder, context)
    }

    /// For the derived code.
    ///
    /// # Errors
    /// When the value is no `T`.
    pub fn decode<'b, C, T: Decode<'b, C>>(
        decoder: &mut Decoder<'b>,
        context: &mut C,
    ) -> Result<Option<T>, minicbor::decode::Error> {
        let unknown = |error: minicbor::decode::Error| {
            // Another kind of error with the same words: the derived code looks at the kind.
            match error.is_unknown_variant() {
                true => minicbor::decode::Error::message(error),
                false => error,
            }
        };
        Option::decode(decoder, context).map_err(unknown)
    }
}

/// Strings of bytes, which would be arrays of numbers otherwise.
pub mod byte_strings {
    use minicbor::decode::Decoder;
    use minicbor::encode::{Encoder, Write};

    /// For the derived code.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: Write>(
        strings: &[Vec<u8>],
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.array(strings.len() as u64)?;
        for string in strings {
            encoder.bytes(string)?;
        }
        Ok(())
    }

    /// For the derived code.
    ///
    /// # Errors
    /// When it is no array of byte strings.
    pub fn decode<C>(
        decoder: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Vec<Vec<u8>>, minicbor::decode::Error> {
        let strings = decoder.array_iter::<&minicbor::bytes::ByteSlice>()?;
        strings.map(|string| string.map(|string| string.to_vec())).collect()
    }
}
