"""Ports of `ported_images_keras.py`, faithful, and some with a fault."""

from itertools import pairwise

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn


def initialised(module):
    """As Keras does it, where torch has it otherwise."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1:
                # Of a depthwise kernel, Keras counts the channels among the inputs' connections.
                n = layer.kernel_size[0] * layer.kernel_size[1] * (layer.in_channels + 1)
                nn.init.uniform_(layer.weight, -((6 / n) ** 0.5), (6 / n) ** 0.5)
            elif isinstance(layer, nn.Conv2d) and layer.groups > 1:
                area = layer.kernel_size[0] * layer.kernel_size[1]
                n = area * (layer.in_channels // layer.groups + layer.out_channels)
                nn.init.uniform_(layer.weight, -((6 / n) ** 0.5), (6 / n) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.MultiheadAttention):
            for part in layer.in_proj_weight.chunk(3):
                nn.init.xavier_uniform_(part)
            nn.init.zeros_(layer.in_proj_bias)
    return module


class Classifier(L.LightningModule):
    """Trains any network on classes."""

    def __init__(self, net):
        super().__init__()
        self.net = initialised(net)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class DenseNet(nn.Module):
    def __init__(self, last_of_block=False):
        super().__init__()
        self.last_of_block = last_of_block
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norms, self.convs = nn.ModuleList(), nn.ModuleList()
        for i in range(3):
            self.norms.append(nn.BatchNorm2d(8 + 4 * i, eps=1.001e-5, momentum=0.01))
            self.convs.append(nn.Conv2d(8 + 4 * i, 4, 3, padding=1, bias=False))
        self.norm = nn.BatchNorm2d(20, eps=1.001e-5, momentum=0.01)
        self.transition = nn.Conv2d(20, 10, 1, bias=False)
        self.out = nn.Linear(10, 3)

    def forward(self, x):
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.relu(norm(x)))
            x = torch.cat([y, x] if self.last_of_block else [x, y], 1)
        x = F.avg_pool2d(self.transition(F.relu(self.norm(x))), 2)
        return self.out(x.mean((2, 3)))


def densenet():
    return Classifier(DenseNet())


def densenet_new_maps_first():
    return Classifier(DenseNet(last_of_block=True))


class InvertedResidual(nn.Module):
    def __init__(self, stride, norm, act, padding):
        super().__init__()
        self.padding, self.stride = padding, stride
        self.expand = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), norm(16), act())
        self.depthwise = nn.Sequential(
            nn.Conv2d(
                16,
                16,
                3,
                stride,
                padding=0 if stride == 2 and padding == "keras" else 1,
                groups=16,
                bias=False,
            ),
            norm(16),
            act(),
        )
        self.project = nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), norm(8))

    def forward(self, x):
        y = self.expand(x)
        if self.stride == 2 and self.padding == "keras":
            y = F.pad(y, (0, 1, 0, 1))
        y = self.project(self.depthwise(y))
        return x + y if self.stride == 1 else y


def mobilenet_v2(momentum=0.001, act=nn.ReLU6, padding="keras"):
    def norm(width):
        return nn.BatchNorm2d(width, eps=1e-3, momentum=momentum)

    stem = [nn.Conv2d(3, 8, 3, 2, bias=False), norm(8), act()]
    if padding == "keras":
        stem.insert(0, nn.ZeroPad2d((0, 1, 0, 1)))
    else:
        stem[0] = nn.Conv2d(3, 8, 3, 2, padding=1, bias=False)
    blocks = [InvertedResidual(stride, norm, act, padding) for stride in (2, 1)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)]
    return Classifier(nn.Sequential(*stem, *blocks, *end))


def mobilenet_v2_relu():
    return mobilenet_v2(act=nn.ReLU)


def mobilenet_v2_padding():
    return mobilenet_v2(padding="torch")


def mobilenet_v2_momentum():
    return mobilenet_v2(momentum=0.1)


class Inception(nn.Module):
    def __init__(self, order=(0, 1, 2, 3), pool=nn.MaxPool2d):
        super().__init__()
        self.order = order
        self.branches = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()),
                nn.Sequential(
                    nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()
                ),
                nn.Sequential(
                    nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 5, padding=2), nn.ReLU()
                ),
                nn.Sequential(pool(3, stride=1, padding=1), nn.Conv2d(3, 2, 1), nn.ReLU()),
            ]
        )
        self.drop, self.out = nn.Dropout(0.4), nn.Linear(14 * 25, 3)

    def forward(self, x):
        made = [branch(x) for branch in self.branches]
        x = torch.cat([made[i] for i in self.order], dim=1)
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)
        return self.out(self.drop(x.flatten(1)))


def inception():
    return Classifier(Inception())


def inception_branches_swapped():
    return Classifier(Inception(order=(0, 2, 1, 3)))


def inception_average():
    return Classifier(Inception(pool=nn.AvgPool2d))


class Double(nn.Sequential):
    def __init__(self, inputs, width):
        super().__init__(
            nn.Conv2d(inputs, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    def __init__(self, skip_first=False, add=False):
        super().__init__()
        self.skip_first = skip_first
        self.down = nn.ModuleList([Double(1, 4), Double(4, 6), Double(6, 8)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(8, 6, 2, 2), nn.ConvTranspose2d(6, 4, 2, 2)])
        self.after = nn.ModuleList([Double(12, 6), Double(8, 4)])
        self.out = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        skips = []
        for block in self.down[:-1]:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.down[-1](x)
        for up, block, skip in zip(self.up, self.after, reversed(skips), strict=True):
            x = up(x)
            x = block(torch.cat([skip, x] if self.skip_first else [x, skip], dim=1))
        return torch.sigmoid(self.out(x))


class Segmenter(Classifier):
    """A yes or no for each pixel."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.binary_cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def unet():
    return Segmenter(UNet())


def unet_skip_first():
    return Segmenter(UNet(skip_first=True))


class SegNet(nn.Module):
    def __init__(self, corners=False, mode="bilinear"):
        super().__init__()
        self.up = {"mode": mode} if mode == "nearest" else {"mode": mode, "align_corners": corners}
        widths = [3, 4, 6, 6, 4]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n, 1e-3, 0.01) for n in widths[1:])
        self.out = nn.Conv2d(4, 5, 1)

    def forward(self, x):
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if i >= 2:
                x = F.interpolate(x, scale_factor=2, **self.up)
            x = F.relu(norm(conv(x)))
            if i < 2:
                x = F.max_pool2d(x, 2)
        return self.out(x)


def segnet():
    return Classifier(SegNet())


def segnet_corners():
    return Classifier(SegNet(corners=True))


def segnet_nearest():
    return Classifier(SegNet(mode="nearest"))


class ResNeXt(nn.Module):
    def __init__(self, groups=4):
        super().__init__()
        self.stem = nn.Conv2d(4, 8, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8, 1e-3, 0.01) for _ in range(2))
        self.middle = nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=False)
        self.last, self.out = nn.Conv2d(8, 8, 1), nn.Linear(8, 3)

    def forward(self, x):
        x = self.stem(x)
        y = self.last(F.relu(self.norms[1](self.middle(F.relu(self.norms[0](x))))))
        return self.out(F.relu(x + y).mean(dim=(2, 3)))


def resnext():
    return Classifier(ResNeXt())


def resnext_groups():
    return Classifier(ResNeXt(groups=2))


class ResNeXtWithoutLast(ResNeXt):
    """The sum is not passed through the last ReLU."""

    def forward(self, x):
        x = self.stem(x)
        y = self.last(F.relu(self.norms[1](self.middle(F.relu(self.norms[0](x))))))
        return self.out((x + F.relu(y)).mean(dim=(2, 3)))


def resnext_relu_before_sum():
    return Classifier(ResNeXtWithoutLast())


class ConvNeXt(nn.Module):
    """As torchvision has it: channels last within the block."""

    def __init__(self, epsilon=1e-6, approximate="none", initial=0.1):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.norm = nn.LayerNorm(8, eps=1e-6)
        self.depthwise = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.block = nn.Sequential(
            nn.LayerNorm(8, eps=epsilon), nn.Linear(8, 32), nn.GELU(approximate), nn.Linear(32, 8)
        )
        self.scale = nn.Parameter(initial * torch.ones(8))
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        x = self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = (self.scale * self.block(y)).permute(0, 3, 1, 2)
        return self.out((x + y).mean((2, 3)))


def convnext():
    return Classifier(ConvNeXt())


def convnext_epsilon():
    return Classifier(ConvNeXt(epsilon=1e-5))


def convnext_tanh():
    return Classifier(ConvNeXt(approximate="tanh"))


def convnext_scale():
    return Classifier(ConvNeXt(initial=1e-2))


class GroupedNorms(nn.Module):
    def __init__(self, groups=4, affine=True, last=F.selu):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)])
        self.group = nn.GroupNorm(groups, 8)
        self.instance = nn.InstanceNorm2d(8, affine=affine)
        self.hidden, self.out, self.last = nn.Linear(16, 6), nn.Linear(6, 3), last

    def forward(self, x):
        x = F.hardswish(self.group(self.convs[0](x)))
        x = F.mish(self.instance(self.convs[1](x)))
        x = torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)
        return self.out(self.last(self.hidden(x)))


def grouped_norms():
    return Classifier(GroupedNorms())


def grouped_norms_groups():
    return Classifier(GroupedNorms(groups=8))


def grouped_norms_elu():
    return Classifier(GroupedNorms(last=F.elu))


def grouped_norms_plain():
    """torch's instance normalisation has no weights unless it is told to."""
    return Classifier(GroupedNorms(affine=False))


class ViT(nn.Module):
    """As timm has it."""

    def __init__(self, pooled=False, std=0.02):
        super().__init__()
        self.pooled = pooled
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(std * torch.randn(1, 5, 8))
        self.norms = nn.ModuleList(nn.LayerNorm(8, eps=1e-6) for _ in range(3))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = self.norms[2](x + self.mlp(self.norms[1](x)))
        return self.out(x.mean(1) if self.pooled else x[:, 0])


def vit():
    return Classifier(ViT())


def vit_pooled():
    return Classifier(ViT(pooled=True))


def vit_std():
    return Classifier(ViT(std=0.2))
