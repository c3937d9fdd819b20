// The menu's links hold no dataset. The address that gets it is no further step: Back leaves the page at once.
if (!window.scfvizHistory) {
  window.scfvizHistory = true;
  const push = history.pushState;
  history.pushState = function (state, unused, url) {
    const next = new URL(url ?? "", location.href);
    const isCompleted = next.pathname === location.pathname && !location.search && next.search;
    return (isCompleted ? history.replaceState : push).call(this, state, unused, url);
  };
}
