//! Messages as bytes, by `prost`.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, skip_field};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

/// What a server answers: a message, or what has been encoded before.
#[derive(Debug)]
pub enum Answer<T> {
    /// A message.
    Message(T),
    /// Its bytes, one part behind the other.
    Encoded(Vec<Bytes>),
}

impl<T: Message> Message for Answer<T> {
    fn encode_raw(&self, to: &mut impl BufMut) {
        match self {
            Answer::Message(message) => message.encode_raw(to),
            Answer::Encoded(parts) => parts.iter().for_each(|part| to.put_slice(part)),
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        from: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        match self {
            Answer::Message(message) => message.merge_field(tag, wire_type, from, context),
            // Nobody reads into an answer.
            Answer::Encoded(_) => skip_field(wire_type, tag, from, context),
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Answer::Message(message) => message.encoded_len(),
            Answer::Encoded(parts) => parts.iter().map(Bytes::len).sum(),
        }
    }

    fn clear(&mut self) {
        match self {
            Answer::Message(message) => message.clear(),
            Answer::Encoded(parts) => parts.clear(),
        }
    }
}

/// That of `tonic`, but for the room of a message, which is made at once: else a long list is copied
/// each time that its room has become too small.
pub struct AtOnce<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for AtOnce<T, U> {
    fn default() -> Self {
        AtOnce(PhantomData)
    }
}

impl<T, U> Codec for AtOnce<T, U>
where
    T: Message + 'static,
    U: Message + Default + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encode<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Encode<T> {
        Encode(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstCodec::<T, U>::default().decoder()
    }
}

/// Writes a message.
pub struct Encode<T>(PhantomData<T>);

impl<T: Message> Encoder for Encode<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(message.encoded_len());
        message.encode(to).map_err(|e| Status::internal(e.to_string()))
    }
}
