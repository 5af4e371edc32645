//! How the gRPC code of this crate encodes: as tonic does, with less room kept for each call.
//!
//! tonic keeps 8 KiB each way for as long as a call lasts. A discovery stream lasts for half an hour, and a control plane has thousands
//! of them, most of the time silent.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::ProstCodec;

/// Room that is kept; what is larger makes more room for itself.
const KEPT_BYTES: usize = 1024;
/// What is encoded before it is handed on, as in tonic.
const YIELD_BYTES: usize = 32 * 1024;

/// Named by the generated code alone.
#[derive(Clone, Copy, Debug)]
pub struct Codec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for Codec<E, D> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<E, D> tonic::codec::Codec for Codec<E, D>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = <ProstCodec<E, D> as tonic::codec::Codec>::Encoder;
    type Decoder = <ProstCodec<E, D> as tonic::codec::Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<E, D>::raw_encoder(BufferSettings::new(KEPT_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<E, D>::raw_decoder(BufferSettings::new(KEPT_BYTES, YIELD_BYTES))
    }
}
