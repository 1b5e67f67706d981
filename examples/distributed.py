"""SAM on several devices: torchrun --nproc-per-node 2 examples/distributed.py --data digits --epochs 2

Each rank takes its share of every batch. `--ranks shared` perturbs by the gradient of the whole batch, `--ranks own` by
each rank's own: that is m-sharpness with m = batch size / ranks (Foret et al. 2021, sec. 4.1), and one exchange less.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lastsam_core import SharpnessAware, create_model
from lastsam_core.data import TrainBatches, load_dataset, resident
from lastsam_core.data.normalization import dataset_channels


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("LASTSAM_DATA_DIR", ".")))
    parser.add_argument("--arch", default="resnet20-a")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--ranks", choices=["shared", "own"], default="own")
    wanted = parser.parse_args()

    cuda = torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    rank, count = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)

    dataset = load_dataset(wanted.data, wanted.data_dir)
    images, labels = resident(dataset.x_train, dataset.y_train, None, device)
    # The same seed everywhere: all ranks see the same batches and each takes its own part of them.
    batches = TrainBatches(
        images, labels, channels=dataset_channels(dataset), batch_size=wanted.batch_size, seed=0, augment="basic"
    )
    torch.manual_seed(0)
    model = create_model(wanted.arch, num_classes=len(dataset.classes)).to(device)
    model = DistributedDataParallel(nn.SyncBatchNorm.convert_sync_batchnorm(model) if cuda else model)
    base = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    optimizer = SharpnessAware(base, model=model, method="asam", rho=0.5, ranks=wanted.ranks)

    for epoch in range(wanted.epochs):
        total, steps = torch.zeros((), device=device), 0
        for x, y in batches.epoch(epoch):
            if len(y) < count:
                continue
            x, y = x.tensor_split(count)[rank], y.tensor_split(count)[rank]

            def closure(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.backward(loss)
                return loss

            total += optimizer.step(closure)
            steps += 1
        if rank == 0:
            print(f"epoch {epoch + 1}: loss {float(total) / steps:.4f} on {count} ranks")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
