"""What several networks share: batch norms fused into the convolutions before them."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fuse_batchnorm(net: nn.Module) -> nn.Module:
    """Fuse each batch norm that follows a convolution in an `nn.Sequential` into it, in place, and return the network.

    For inference: the network must be in eval mode. Outputs stay the same up to rounding.
    """
    for chain in [module for module in net.modules() if isinstance(module, nn.Sequential)]:
        for at in range(len(chain) - 1):
            if isinstance(chain[at], CONVOLUTIONS) and isinstance(chain[at + 1], NORMS):
                chain[at] = fuse_conv_bn_eval(chain[at], chain[at + 1])
                chain[at + 1] = nn.Identity()
    return net
