"""SegFormer's tensors under our names, from Hugging Face's files and from the authors' program."""

import re

from torch import Tensor

# name in a file of Hugging Face's -> ours, one after the other
HUGGING_FACE = (
    (r"^segformer\.encoder\.patch_embeddings\.(\d+)\.", r"segformer.stages.\1.patch_embeddings."),
    (r"^segformer\.encoder\.block\.(\d+)\.", r"segformer.stages.\1.blocks."),
    (r"^segformer\.encoder\.layer_norm\.(\d+)\.", r"segformer.stages.\1.layer_norm."),
    (r"\.layer_norm_1\.", ".layernorm_before."),
    (r"\.layer_norm_2\.", ".layernorm_after."),
    (r"\.attention\.self\.(?:(q)uery|(k)ey|(v)alue)\.", r".attention.\1\2\3_proj."),
    (r"\.attention\.self\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attention\.self\.layer_norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
    (r"^decode_head\.linear_c\.(\d+)\.", r"decode_head.linear_projections.\1."),
)
# the authors', whose stages count from 1 (here from 0 already)
AUTHORS = (
    (r"^(?:backbone\.)?patch_embed(\d)\.proj\.", r"segformer.stages.\1.patch_embeddings.proj."),
    (
        r"^(?:backbone\.)?patch_embed(\d)\.norm\.",
        r"segformer.stages.\1.patch_embeddings.layer_norm.",
    ),
    (r"^(?:backbone\.)?norm(\d)\.", r"segformer.stages.\1.layer_norm."),
    (r"^(?:backbone\.)?block(\d)\.(\d+)\.", r"segformer.stages.\1.blocks.\2."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.([qkv])\.", r".attention.\1_proj."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attn\.norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"^decode_head\.linear_c(\d)\.", r"decode_head.linear_projections.\1."),
    (r"^decode_head\.linear_fuse\.conv\.", "decode_head.linear_fuse."),
    (r"^decode_head\.linear_fuse\.bn\.", "decode_head.batch_norm."),
    (r"^decode_head\.linear_pred\.", "decode_head.classifier."),
)
STAGE = re.compile(r"^((?:backbone\.)?(?:patch_embed|block|norm)|decode_head\.linear_c)(\d)\.")
# classifiers of ImageNet, and one that mmsegmentation makes for every head and this one never uses
UNUSED = re.compile(r"(?:classifier|head|decode_head\.conv_seg)\.(?:weight|bias)")


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors under our names; None where they are none of SegFormer's."""
    if any(name.startswith("segformer.") for name in tensors):
        rules = HUGGING_FACE
    elif any(re.match(r"(backbone\.)?patch_embed1\.proj\.weight$", name) for name in tensors):
        tensors, rules = _of_the_authors(tensors), AUTHORS
    else:
        return None
    result = {}
    for name, value in tensors.items():
        if not UNUSED.fullmatch(name):
            for pattern, ours in rules:
                name = re.sub(pattern, ours, name)
            result[name] = value
    return result


def _of_the_authors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stages counted from 0; keys and values of the attention, which are one tensor, as two."""
    result = {}
    for name, value in tensors.items():
        name = STAGE.sub(lambda found: f"{found[1]}{int(found[2]) - 1}.", name)
        if ".attn.kv." in name:
            for kind, half in zip("kv", value.chunk(2), strict=True):
                result[name.replace(".attn.kv.", f".attn.{kind}.")] = half
        else:
            result[name] = value
    return result
