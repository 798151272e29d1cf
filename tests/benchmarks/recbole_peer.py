"""RecBole's own trainer and evaluator on a log, for the benchmarks that compare with them."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch


def make(
    model: str, interactions: pd.DataFrame, folder: Path, **settings: Any
) -> tuple[Any, Any, tuple[Any, Any, Any]]:
    """RecBole's config, trainer and (train, valid, test) loaders for columns user_id, item_id, timestamp.

    The last interaction of each user by time is the test, the one before validation. `folder` takes all that RecBole
    writes. Its Config needs names that numpy 2 has not, overwrites others, and reads sys.argv.
    """
    vars(np).update(float_=np.float64, complex_=np.complex128, unicode_=np.str_)
    data = folder / "log"
    data.mkdir(parents=True)
    columns = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
    interactions.rename(columns=columns).to_csv(data / "log.inter", sep="\t", index=False)
    arguments, here = sys.argv, os.getcwd()
    sys.argv = sys.argv[:1]
    os.chdir(folder)
    warnings.simplefilter("ignore")  # RecBole's own, about pandas and numpy
    try:
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer, init_seed

        config = Config(
            model=model,
            dataset="log",
            config_dict={
                "data_path": str(folder),
                "load_col": {"inter": list(columns)},
                "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
                "use_gpu": False,
                "show_progress": False,
                "checkpoint_dir": str(folder / "saved"),
                **settings,
            },
        )
        vars(np).update(float=float, bool=bool)  # its evaluator uses them
        logging.getLogger().setLevel(logging.ERROR)
        init_seed(config["seed"], True)
        loaders = data_preparation(config, create_dataset(config))
        module = get_model(model)(config, loaders[0].dataset)
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, module)
        torch.autograd.set_detect_anomaly(False)
    finally:
        sys.argv = arguments
        os.chdir(here)
    return config, trainer, loaders


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="recbole-")
