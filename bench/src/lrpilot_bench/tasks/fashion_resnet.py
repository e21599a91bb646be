"""Fashion-MNIST padded to 32 x 32, ResNet-18, all images: for a GPU."""

import torch
from torch import Tensor, nn

from lrpilot_bench.data import fashion_mnist
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

PADDING = 2  # pixels of background on every side: 28 + 4 = 32


def data() -> Splits:
    """58,000 images train, the last 2,000 validate; n x 1 x 32 x 32."""
    splits = fashion_mnist(num_train=58_000, num_val=2_000)
    return Splits(*(Split(padded(part.inputs), part.targets) for part in splits))


def padded(images: Tensor) -> Tensor:
    """The images within a frame of their background, the darkest value there is."""
    return nn.functional.pad(images, (PADDING,) * 4, value=float(images.min()))


def conv_norm(channels_in: int, channels: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, and BatchNorm."""
    conv = nn.Conv2d(channels_in, channels, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


class Block(nn.Module):
    """Basic residual block: two 3 x 3 convolutions beside a shortcut (He et al. 2015, 1512.03385).

    Args:
        channels_in: of the input.
        channels: of the output; where they differ the shortcut is a 1 x 1 convolution.
        stride: of the first convolution and of the shortcut.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = conv_norm(channels_in, channels, stride=stride)
        self.second = conv_norm(channels, channels)
        same = stride == 1 and channels_in == channels
        self.shortcut = nn.Identity() if same else conv_norm(channels_in, channels, size=1, stride=stride)

    def forward(self, inputs: Tensor) -> Tensor:
        """N x channels_in x height x width to n x channels x height / stride x width / stride."""
        inner = self.second(torch.relu(self.first(inputs)))
        return torch.relu(inner + self.shortcut(inputs))


def resnet18(width: int = 64) -> nn.Module:
    """ResNet-18 for 32 x 32 pixels of one channel: a 3 x 3 stem without pooling, four stages of two blocks.

    Args:
        width: channels of the first stage; each next stage doubles them.
    """
    layers: list[nn.Module] = [conv_norm(1, width), nn.ReLU()]
    channels_in = width
    for stage in range(4):
        channels = width * 2**stage
        layers += [Block(channels_in, channels, 1 if stage == 0 else 2), Block(channels, channels, 1)]
        channels_in = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels_in, 10))


TASKS = (
    Task(
        name="fashion_resnet18",
        title="Fashion-MNIST at 32 x 32, all images, ResNet-18, batch 128",
        module=__name__,
        load=data,
        make_model=resnet18,
        criterion=class_loss,
        score=class_accuracy,
        steps=6795,  # 15 epochs
        batch_size=128,
        families=(
            OptimizerFamily("sgd", lr_grid(0.05), default="sgd_step", weight_decay=5e-4),
            OptimizerFamily("adamw", lr_grid(0.002), default="adamw_constant", weight_decay=0.05),
        ),
        handmade="step",
        eval_batch_size=500,
        large=True,
        remark="the papers' architecture: 11 million parameters, trained until it fits its training images",
    ),
)
