"""SegFormer (Xie et al., NeurIPS 2021): the modules of `transformers`, an optional package."""

from typing import NamedTuple

from torch import Tensor, nn

from scalewise.errors import UserError
from scalewise.models.network import Network

# it also names the tensors of our model files; requirements-segformer.lock pins the same
PACKAGE = "transformers==5.24.0"
SMALLEST = 29  # pixels per side; the first stage's attention takes 8 x 8 cells of 4 pixels as one


class Variant(NamedTuple):
    """Blocks and channels of the encoder's four stages, and channels of the head."""

    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    head: int


VARIANTS = {
    "tiny": Variant((1, 1, 1, 1), (8, 16, 40, 64), 32),  # of nobody: for tests and trials
    # the paper's, supplement, table 6
    "b0": Variant((2, 2, 2, 2), (32, 64, 160, 256), 256),
    "b1": Variant((2, 2, 2, 2), (64, 128, 320, 512), 256),
    "b2": Variant((3, 4, 6, 3), (64, 128, 320, 512), 768),
    "b3": Variant((3, 4, 18, 3), (64, 128, 320, 512), 768),
    "b4": Variant((3, 8, 27, 3), (64, 128, 320, 512), 768),
    "b5": Variant((3, 6, 40, 3), (64, 128, 320, 512), 768),
}


def _modules(classes: int, variant: str, dropout: float, drop_path: float) -> nn.Module:
    """The modules of `transformers`, with drawn weights: nothing is fetched, no file is read."""
    blocks, channels, head = VARIANTS[variant]
    try:
        from transformers import SegformerConfig, SegformerForSemanticSegmentation
    except ImportError:
        raise UserError(
            f"network segformer needs the package transformers: pip install {PACKAGE}"
        ) from None
    made = SegformerForSemanticSegmentation(
        SegformerConfig(
            num_labels=classes,
            depths=blocks,
            hidden_sizes=channels,
            decoder_hidden_size=head,
            classifier_dropout_prob=dropout,
            drop_path_rate=drop_path,
            # plain products: the gradients of torch's fused attention on CUDA differ in their last
            # bits from run to run
            attn_implementation="eager",
        )
    )
    if not hasattr(made.segformer, "stages"):
        raise UserError(
            f"network segformer: this transformers has other tensor names: pip install {PACKAGE}"
        )
    return made


class Segformer(Network):
    """3.7 M (b0) to 85 M (b5) parameters with 19 classes; logits at 1/4 of the input, rounded up.

    Args:
        classes: number of classes.
        variant: a row of `VARIANTS`.
        dropout: share of the head's features dropped before the classifier while training.
        drop_path: share of images for which the last residual branch is left out while training;
            it rises from 0 at the first block (stochastic depth).

    Raises: UserError where `transformers` is missing, or one with other names of the tensors.
    """

    align_corners = False
    size_option = "variant"

    def __init__(
        self, classes: int, variant: str = "b0", dropout: float = 0.1, drop_path: float = 0.1
    ):
        super().__init__()
        made = _modules(classes, variant, dropout, drop_path)
        self.segformer, self.decode_head = made.segformer, made.decode_head

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if min(height, width) < SMALLEST:
            raise ValueError(
                f"an image of {height} x {width} is too small for SegFormer: it needs at least "
                f"{SMALLEST} pixels on each side"
            )
        features = [images]
        for stage in self.segformer.stages:
            features.append(stage(features[-1]))
        return self.decode_head(features[1:])

    def classifier_parameters(self) -> list[nn.Parameter]:
        """The whole head, as in the paper's recipe (10 times the rate of the encoder)."""
        return list(self.decode_head.parameters())

    def is_of_a_larger_one(self, name: str) -> bool:
        return name.startswith("segformer.stages.") and ".blocks." in name
