from mmseg_incremental.errors import close_match


def test_close_match():
    assert close_match(
        'disjont',
        ('overlapped', 'disjoint')) == (" (did you mean 'disjoint'?)")
    assert close_match('xyz', ('overlapped', 'disjoint')) == ''
    assert close_match(None, ()) == ''
