"""Sign-in, where the server's administrator has set up a provider (OpenID Connect); see the README."""

import streamlit as st

from scfviz.ui.frame.text import plain, shorten


def is_offered() -> bool:
    """Whether visitors can sign in here."""
    return getattr(st.user, "is_logged_in", None) is not None


def show() -> None:
    """Who is signed in, or the way to; nothing on a server without sign-in."""
    if not is_offered():
        return
    if st.user.is_logged_in:
        name = str(st.user.get("name") or st.user.get("email") or st.user.get("sub") or "")
        st.caption(f":material/account_circle: Signed in as {plain(shorten(name, 40))}")
        st.button("Sign out", key="sign-out", type="tertiary", icon=":material/logout:", on_click=st.logout)
    else:
        st.caption("Uploads are kept for this browser; signed in, for your account on any computer.")
        st.button("Sign in", key="sign-in", type="tertiary", icon=":material/login:", on_click=st.login)
