import tensorflow_datasets as tfds
import tfds_archives

from pipelines.sources import prepare


def failure(capsys, *arguments):
    assert prepare.main(list(arguments)) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    return error[0]


def test_what_is_prepared_is_left_alone(tmp_path, capsys):
    archive = tfds_archives.lm1b_archive(["A sentence .", "Another one ."], ["A third ."])
    tfds_archives.prepare("lm1b", tmp_path, {tfds_archives.LM1B_URL: archive})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert prepare.main(["lm1b", f"--data-dir={tmp_path}"]) == 0
    assert "lm1b is prepared in" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_no_such_data_set(tmp_path, capsys):
    assert "no_such_set" in failure(capsys, "no_such_set", f"--data-dir={tmp_path}")


def test_a_file_where_the_folder_should_be(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "is not a folder" in failure(capsys, "cifar10", f"--data-dir={tmp_path / 'file'}")


def test_what_needs_beam_names_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "apache_beam", None)
    assert "pip install apache-beam" in failure(capsys, "c4/en.noclean", f"--data-dir={tmp_path}")


def test_imagenet_names_the_folder_of_its_archives(tmp_path, capsys):
    error = failure(capsys, "imagenet2012", f"--data-dir={tmp_path}")
    assert "by hand" in error and str(tmp_path / "downloads" / "manual") in error


def test_a_failed_download_is_one_line(tmp_path, capsys, monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("Failed to resolve the host\nand more")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", offline)
    assert "Failed to resolve the host" in failure(capsys, "cifar10", f"--data-dir={tmp_path}")
