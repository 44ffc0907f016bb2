"""A node that leaves the cluster takes at most one shard's work with it."""

import os

import pytest
from test_cluster import After, alone, ensemble, files, labelled, place, questions  # noqa: F401 (fixtures)

from ensemw2s.export.ensembles.labeller import open_reader
from ensemw2s.services.labelling.ray_engine import RayEngine


@pytest.mark.cluster
def test_a_removed_node_loses_no_row(ensemble, questions, alone, tmp_path):  # noqa: F811
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        ray.init(address=cluster.address, log_to_driver=False)
        engine = RayEngine(ray, ensemble, 2)
        removing = After(engine, 2, lambda: cluster.remove_node(nodes[0], allow_graceful=False))
        assert labelled(open_reader(ensemble), questions, tmp_path / "out", removing) == alone[0]
        assert files(tmp_path / "out") == alone[1]
        assert engine.redone <= 1
    finally:
        ray.shutdown()
        cluster.shutdown()
