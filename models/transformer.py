"""Decoder-only Transformer language model (Vaswani et al. 2017), the paper's model for LM1B and Common Crawl.

The paper does not print its sizes; the paper-scale workloads use the base model's (512 wide, 6 layers, 8 heads,
2048 hidden), our choice. Layer normalisation comes before each block (pre-norm), also our choice.

Shapes: B sequences, L tokens, D model width, H heads, K width of a head, V vocabulary.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.memory import kept


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes; `length` is the longest sequence, `dtype` that of the computation (parameters are float32)."""

    vocab_size: int
    length: int
    width: int
    layers: int
    heads: int
    hidden: int
    tied_embedding: bool
    dtype: str

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")


class Attention(nn.Module):
    """Causal multi-head self-attention: [B, L, D] -> [B, L, D]."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        c = self.config
        length = x_BLD.shape[1]
        qkv = nn.DenseGeneral((3, c.heads, c.width // c.heads), use_bias=False, dtype=c.dtype, name="qkv")(x_BLD)
        q_BLHK, k_BLHK, v_BLHK = (qkv[:, :, i] for i in range(3))
        scores_BHLL = jnp.einsum("blhk,bmhk->bhlm", q_BLHK * (c.width // c.heads) ** -0.5, k_BLHK)
        causal_LL = jnp.tril(jnp.ones((length, length), bool))
        scores_BHLL = jnp.where(causal_LL, scores_BHLL.astype(jnp.float32), -1e9)
        weights_BHLL = jax.nn.softmax(scores_BHLL).astype(c.dtype)
        mixed_BLHK = jnp.einsum("bhlm,bmhk->blhk", weights_BHLL, v_BLHK)
        return nn.DenseGeneral(c.width, axis=(-2, -1), use_bias=False, dtype=c.dtype, name="out")(mixed_BLHK)


class Block(nn.Module):
    """Pre-norm attention and feed-forward block: [B, L, D] -> [B, L, D]."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        c = self.config
        x_BLD += Attention(c, name="attention")(nn.LayerNorm(dtype=c.dtype)(x_BLD))
        hidden = nn.relu(nn.Dense(c.hidden, dtype=c.dtype)(nn.LayerNorm(dtype=c.dtype)(x_BLD)))
        return x_BLD + nn.Dense(c.width, dtype=c.dtype)(hidden)


class Transformer(nn.Module):
    """Language model: tokens [B, L] int32 -> logits [B, L, V] float32, those at position l predicting token l.

    The model reads the tokens shifted right behind a 0, so position l sees the tokens before l only. With
    `hidden_only` it gives what a tied embedding multiplies to logits, [B, L, D], and the embedding [V, D].
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, tokens_BL: jax.Array, hidden_only: bool = False) -> jax.Array | tuple[jax.Array, jax.Array]:
        c = self.config
        length = tokens_BL.shape[1]
        embed = nn.Embed(c.vocab_size, c.width, dtype=c.dtype, embedding_init=nn.initializers.normal(c.width**-0.5))
        inputs_BL = jnp.pad(tokens_BL, ((0, 0), (1, 0)))[:, :-1]
        position_LD = self.param("position", nn.initializers.normal(0.02), (c.length, c.width))
        x_BLD = embed(inputs_BL) * c.width**0.5 + position_LD[:length].astype(c.dtype)
        for i in range(c.layers):
            x_BLD = kept(Block(c, name=f"block_{i}")(x_BLD))
        x_BLD = nn.LayerNorm(dtype=c.dtype)(x_BLD)
        if hidden_only:
            return x_BLD, embed.embedding
        if c.tied_embedding:
            return embed.attend(x_BLD).astype(jnp.float32)
        return nn.Dense(c.vocab_size, use_bias=False, dtype=c.dtype, name="logits")(x_BLD).astype(jnp.float32)
