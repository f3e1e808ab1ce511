use crate::world::stories;
stories![];
