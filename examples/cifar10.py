"""CIFAR-10 with ResNet-20 (He et al., 2016, section 4.2): random crops and flips, SGD with momentum.

python3 examples/cifar10.py                      # downloads the images; on a GPU: XPCONV_BACKEND=cupy
python3 examples/cifar10.py --data-dir DIR       # with the files of CIFAR's binary version
python3 examples/cifar10.py --checkpoints run    # continues from the last checkpoint in run/, if there is one

The paper's 64,000 steps take hours on a CPU; `--epochs 30` shows most of it. Ctrl-C ends the training with
what has been learned.
"""

from __future__ import annotations

import argparse

import xpconv
from xpconv import train
from xpconv.data import batches, channel_mean_std, load_cifar10
from xpconv.data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip
from xpconv.models import resnet20


def main(argv: list[str] | None = None) -> float:
    """Run the example; returns the accuracy on the test images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", metavar="DIR", help="folder with CIFAR-10's binary files")
    parser.add_argument("--epochs", type=int, default=164, help="default: %(default)s, the paper's")
    parser.add_argument("--batch-size", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--checkpoints", metavar="DIR", help="folder to write checkpoints into, and to resume from"
    )
    args = parser.parse_args(argv)

    cifar = load_cifar10(args.data_dir)
    normalize = Normalize(*channel_mean_std(cifar.x_train))
    x_train, x_test = normalize(cifar.x_train), normalize(cifar.x_test)
    data = batches(
        x_train, cifar.y_train, batch_size=args.batch_size, shuffle=True, seed=args.seed,
        transform=Compose([RandomCrop(32, padding=4), RandomHorizontalFlip()]), workers=1,
    )  # fmt: skip

    xpconv.manual_seed(args.seed)
    model = resnet20(num_classes=10)
    optimizer = xpconv.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = xpconv.MultiStepLR(optimizer, [args.epochs // 2, args.epochs * 3 // 4], gamma=0.1)
    criterion, test = xpconv.SoftmaxCrossEntropyLoss(), batches(x_test, cifar.y_test, batch_size=500)
    checkpoints = [train.Checkpoint(args.checkpoints)] if args.checkpoints else []
    train.fit(
        model, criterion, optimizer, data, test, epochs=args.epochs, metrics=["accuracy"],
        schedule=schedule, callbacks=checkpoints, resume=args.checkpoints,
    )  # fmt: skip
    result = train.evaluate(model, criterion, test, metrics=["accuracy"])
    print(f"test accuracy {result['accuracy']:.2%}")
    return result["accuracy"]


if __name__ == "__main__":
    main()
